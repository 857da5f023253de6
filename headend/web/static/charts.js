// Draws what /api gives: a curve whose gaps are gaps, interval bars that show which of them are estimated.
"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const UNITS = { 1: "", m3: "m³", "m3/h": "m³/h", degC: "°C" };
  const HOURS = { "15min": 24, hour: 72, day: 24 * 31 };
  const TICKS = [
    { dtickrange: [null, 60000], value: "%H:%M:%S\n%m-%d" },
    { dtickrange: [60000, 86400000], value: "%H:%M\n%m-%d" },
    { dtickrange: [86400000, null], value: "%m-%d\n%Y" },
  ];

  function layout(chart, unit) {
    const ink = css("--ink-2");
    const axis = { gridcolor: css("--line"), zerolinecolor: css("--line-2"), linecolor: css("--line-2"), tickcolor: css("--line-2"), automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("--font"), size: 12, color: ink },
      margin: { l: 48, r: 12, t: 8, b: 36 }, height: chart.clientHeight || 300,
      hovermode: "x unified",
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line-2"), font: { color: css("--ink") } },
      showlegend: false, dragmode: "zoom", uirevision: chart.dataset.revision || "1",
      xaxis: { ...axis, type: "date", tickformatstops: TICKS, hoverformat: "%Y-%m-%d %H:%M:%S" },
      yaxis: { ...axis, rangemode: "tozero", title: { text: unit, standoff: 6 }, fixedrange: true },
    };
  }
  const CONFIG = { responsive: true, displayModeBar: false };

  // Stretches [first, last] without a gap.
  function stretches(values) {
    const found = [];
    values.forEach((v, n) => {
      if (v === null) return;
      if (n && values[n - 1] !== null) found[found.length - 1][1] = n;
      else found.push([n, n]);
    });
    return found;
  }

  function curve(chart, data, words, language) {
    const parts = stretches(data.value);
    const unit = UNITS[data.unit] ?? data.unit;
    const traces = [];
    if (data.step_s > 0) {
      const x = [], y = [];
      for (const [a, b] of parts) {
        for (let n = a; n <= b; n++) { x.push(data.t[n]); y.push(data.high[n]); }
        for (let n = b; n >= a; n--) { x.push(data.t[n]); y.push(data.low[n]); }
        x.push(data.t[a], null); y.push(data.high[a], null);
      }
      traces.push({ x, y, fill: "toself", mode: "lines", line: { width: 0 }, fillcolor: css("--band"), hoverinfo: "skip" });
    }
    traces.push({
      x: data.t, y: data.value, mode: "lines", connectgaps: false, name: data.step_s > 0 ? words["chart.mean"] : data.name[language],
      line: { color: css("--curve"), width: 1.8 }, hovertemplate: `%{y:.4~g} ${unit}`,
    });
    const lone = parts.filter(([a, b]) => a === b).map(([a]) => a);
    if (lone.length) traces.push({ x: lone.map((n) => data.t[n]), y: lone.map((n) => data.value[n]), mode: "markers", marker: { color: css("--curve"), size: 5 }, hoverinfo: "skip" });
    const odd = data.suspect.filter((n) => data.value[n] !== null);
    if (odd.length) traces.push({ x: odd.map((n) => data.t[n]), y: odd.map((n) => data.value[n]), mode: "markers", name: words["chart.suspect"], marker: { color: css("--warning"), size: 8, symbol: "diamond" }, hovertemplate: `${words["chart.suspect"]}` });
    const wanted = layout(chart, unit);
    wanted.xaxis.range = [data.start, data.end];
    wanted.shapes = data.findings.map((f) => ({
      type: "rect", xref: "x", yref: "paper", x0: f.start, x1: f.end, y0: 0, y1: 1, layer: "below",
      fillcolor: css(`--${f.severity}-soft`), line: { width: String(f.finding) === chart.dataset.finding ? 1 : 0, color: css(`--${f.severity}`) },
    }));
    if (!parts.length) wanted.annotations = [{ text: words["chart.none"], showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5, font: { size: 14, color: css("--ink-2") } }];
    return Plotly.react(chart, traces, wanted, CONFIG);
  }

  function bars(chart, data, words) {
    const unit = chart.dataset.unit;
    const known = data.filter((i) => i.value !== null);
    const percent = (i) => words["chart.coverage"].replace("{percent}", Math.floor(100 * i.coverage));
    const trace = {
      type: "bar", x: known.map((i) => i.start), y: known.map((i) => i.value), offset: 0,
      width: known.map((i) => 0.92 * (Date.parse(i.end) - Date.parse(i.start))),
      marker: {
        color: css("--curve"), opacity: known.map((i) => (i.open ? 0.45 : 1)), line: { width: 1, color: css("--curve") },
        pattern: {
          shape: known.map((i) => (i.grade === "estimated" || (i.grade === "partial" && !i.open) ? "/" : "")),
          fgcolor: css("--curve"), bgcolor: css("--band"), size: 7, solidity: 0.3,
        },
      },
      customdata: known.map((i) => `${i.grade === "estimated" ? words["chart.estimated"] + ", " : ""}${percent(i)}${i.open ? ", " + words["chart.open"] : ""}`),
      hovertemplate: `%{y:.5~g} ${unit}<br>%{customdata}<extra></extra>`,
    };
    const wanted = layout(chart, unit);
    wanted.bargap = 0.08;
    if (!known.length) wanted.annotations = [{ text: words["chart.none"], showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5, font: { size: 14, color: css("--ink-2") } }];
    return Plotly.react(chart, [trace], wanted, CONFIG);
  }

  const wishes = new Map();

  async function draw(chart) {
    const words = JSON.parse(chart.dataset.words);
    const wish = wishes.get(chart.id) || {};
    const ask = new URLSearchParams();
    if (chart.dataset.kind === "curve") {
      const measurand = wish.measurand || chart.dataset.measurand;
      if (measurand) ask.set("measurand", measurand);
      if (chart.dataset.start) { ask.set("start", chart.dataset.start); ask.set("end", chart.dataset.end); }
      else ask.set("hours", wish.hours || 6);
      ask.set("most", Math.max(200, Math.round(chart.clientWidth)));
    } else {
      const resolution = wish.resolution || "hour";
      ask.set("resolution", resolution);
      ask.set("hours", HOURS[resolution]);
    }
    const answer = await fetch(`${chart.dataset.url}?${ask}`, { cache: "no-store", signal: AbortSignal.timeout(20000) });
    if (!answer.ok) return;
    const data = await answer.json();
    await (chart.dataset.kind === "curve" ? curve(chart, data, words, chart.dataset.language) : bars(chart, data, words));
    chart.dataset.drawn = "yes";
  }

  let busy = false;
  async function drawAll() {
    if (busy) return;
    busy = true;
    try {
      for (const chart of document.querySelectorAll(".chart")) await draw(chart);
    } catch (problem) {
      if (!(problem instanceof TypeError) && problem.name !== "TimeoutError") throw problem; // no network: the banner says so
    } finally {
      busy = false;
    }
  }

  function choose(id, name, value) {
    const chart = document.getElementById(id);
    wishes.set(id, { ...wishes.get(id), [name]: value });
    chart.dataset.revision = JSON.stringify(wishes.get(id));
    draw(chart);
  }
  for (const select of document.querySelectorAll("select[data-chart]")) {
    select.addEventListener("change", () => choose(select.dataset.chart, select.name, select.value));
  }
  for (const group of document.querySelectorAll(".choice[data-chart]")) {
    group.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      for (const other of group.children) other.setAttribute("aria-pressed", String(other === button));
      choose(group.dataset.chart, group.dataset.name, button.value);
    });
  }
  dark.addEventListener("change", drawAll);
  document.addEventListener("live", drawAll);
  drawAll();
})();
