// Keeps the page current: fetches it again and changes only what differs, so that nothing flickers,
// no focus is lost and a selection stays. Parts that may change carry data-live and an id.
"use strict";
(() => {
  const every = 1000 * (Number(document.body.dataset.refresh) || 3);
  const lost = document.getElementById("lost");

  // Make `now` like `then`, node by node.
  function morph(now, then) {
    if (now.nodeType !== then.nodeType || now.nodeName !== then.nodeName) {
      now.replaceWith(document.importNode(then, true));
      return;
    }
    if (now.nodeType === Node.TEXT_NODE) {
      if (now.data !== then.data) now.data = then.data;
      return;
    }
    if (now.nodeType !== Node.ELEMENT_NODE) return;
    for (const { name } of [...now.attributes]) if (!then.hasAttribute(name)) now.removeAttribute(name);
    for (const { name, value } of then.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
    const old = [...now.childNodes];
    const fresh = [...then.childNodes];
    fresh.forEach((node, n) => (n < old.length ? morph(old[n], node) : now.append(document.importNode(node, true))));
    old.slice(fresh.length).forEach((node) => node.remove());
  }

  async function refresh() {
    if (!document.hidden) {
      try {
        const answer = await fetch(document.body.dataset.url, { cache: "no-store", signal: AbortSignal.timeout(20000) });
        if (!answer.ok) throw new Error(answer.status);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of document.querySelectorAll("[data-live]")) {
          const fresh = page.getElementById(part.id);
          if (fresh) morph(part, fresh);
        }
        lost.hidden = true;
        document.dispatchEvent(new Event("live"));
      } catch {
        lost.hidden = false;
      }
    }
    setTimeout(refresh, every);
  }
  setTimeout(refresh, every);
  document.addEventListener("visibilitychange", () => document.hidden || document.dispatchEvent(new Event("live")));
})();
