"""What the head-end does every few seconds: intervals, the chain, detectors, findings, notices.

One meter's failure is its own: the others are served, and it is tried again in the next round.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

from analytics.detectors import Learnt, run_detectors
from analytics.detectors.learning import learn
from analytics.findings import Finding
from analytics.series import Span as Stretch
from headend.catalogue import Catalogue
from headend.feedback import FeedbackBox
from headend.findings import FindingsBook, Looked
from headend.ledger import Link, chain_breaks
from headend.metered import account_of, power_of
from headend.plant_days import day_of
from headend.rollup import Rollup
from headend.stores.api import Span, StoreReader
from headend.supervise import Supervisor
from headend.windows import off_hours_of, window_of
from meterline.clock import NS, Clock
from meterline.plant import Meter, Plant

_LOG = logging.getLogger(__name__)
HOUR_NS = 3600 * NS
WINDOW_NS = 36 * HOUR_NS
"""What detectors are shown of each meter, up to the newest reading of its gateway."""
HISTORY_NS = 28 * 24 * HOUR_NS
LEARN_A_ROUND = 2
"""Meters whose habits are learnt anew in one round; each once a day of the plant."""
AWAY_S = 60.0
"""Real seconds without a word after which a gateway counts as away."""
_LINKS_A_ROUND = 5000


class Jobs:
    """The rounds.

    Parameters
    ----------
    heard
        Gives per gateway when its last message arrived, UTC. [ns]
    after
        Called at the end of each round with the plant's time, to turn events of the book into mails.
    more
        What else is to be done in each round before that, by name.
    factor
        Plant seconds per real second (1 on a real site).
    """

    def __init__(
        self,
        plant: Plant,
        store: StoreReader,
        catalogue: Catalogue,
        book: FindingsBook,
        clock: Clock,
        supervisor: Supervisor,
        *,
        heard: Callable[[], Mapping[str, int]],
        after: Callable[[int], object] | None = None,
        more: Mapping[str, Callable[[int], object]] | None = None,
        factor: float = 1.0,
    ) -> None:
        self._plant, self._store, self._catalogue, self._book = plant, store, catalogue, book
        self._clock, self._supervisor, self._heard, self._after = clock, supervisor, heard, after
        self._more = dict(more or {})
        self._away_ns = int(AWAY_S * factor * NS)
        self._rollup = Rollup(plant, store, catalogue)
        self._started_ns = clock.now_ns()
        self._learnt: dict[str, tuple[str, Learnt]] = {}
        self._looked_to: dict[str, int] = {}
        self._box = FeedbackBox(catalogue.path.parent)

    def run(self, every_s: float) -> None:
        """Round after round until the supervisor says stop; `every_s` real seconds between their starts."""
        while not self._supervisor.stopping.is_set():
            began_s = self._clock.monotonic_s()
            self.once(self._clock.now_ns())
            self._supervisor.stopping.wait(max(0.1, every_s - (self._clock.monotonic_s() - began_s)))

    def once(self, now_ns: int) -> None:
        """One round at a moment of plant time; whatever fails is a trouble and does not stop the rest."""
        attempt = self._supervisor.attempt
        attempt("intervals", lambda: self._rollup.run(now_ns, self._supervisor.isolated))
        attempt("chain", lambda: self._check_chain(now_ns))
        attempt("feedback", lambda: self._book.take_notes(self._box))
        attempt("findings", lambda: self._detect(now_ns))
        for name, work in self._more.items():
            attempt(name, partial(work, now_ns))
        if self._after is not None:
            attempt("notices", partial(self._after, now_ns))

    # -- detectors ---------------------------------------------------------------------------------------------------
    def _detect(self, now_ns: int) -> None:
        standing, gone = self._standing(now_ns)
        first_ns = self._first_slot()
        findings: list[Finding] = []
        looked: dict[str, Looked] = {}
        learning = LEARN_A_ROUND
        off_hours: dict[Span, tuple[Stretch, ...]] = {}
        news = {gateway: end for gateway, end in standing.items() if self._looked_to.get(gateway) != end}
        self._looked_to = dict(standing)
        for meter in self._plant.site.meters:
            gateway = self._plant.buses[meter.bus].gateway
            end_ns = news.get(gateway)
            if end_ns is None:  # never heard of, or nothing new since the last round
                continue
            span = Span(max(end_ns - WINDOW_NS, first_ns), end_ns)
            if span not in off_hours:
                off_hours[span] = off_hours_of(self._plant, span)
            today = day_of(self._plant.site.site.zone, end_ns).isoformat()
            if learning and self._learnt.get(meter.id, ("",))[0] != today:
                learning -= 1
                self._supervisor.attempt(f"learning {meter.id}", partial(self._learn, meter, end_ns, first_ns, today))
            look = partial(self._look, meter, span, off_hours[span], findings, looked)
            if self._supervisor.attempt(f"detectors of {meter.id}", look) is not None:
                self._looked_to.pop(gateway, None)  # once more in the next round
        self._book.observe(findings, looked, now_ns, gone=gone)

    def _look(
        self,
        meter: Meter,
        span: Span,
        off_hours: tuple[Stretch, ...],
        findings: list[Finding],
        looked: dict[str, Looked],
    ) -> None:
        habits = self._learnt.get(meter.id)
        context, window = window_of(
            self._plant, self._store, meter, span, off_hours=off_hours, learnt=habits[1] if habits else None
        )
        found = run_detectors(context, window)
        good = [int(known.t_ns[-1]) for series in window.gauges.values() if len(known := series.known())]
        looked[meter.id] = Looked(max(good, default=None), context.poll_ns)
        findings += found

    def _learn(self, meter: Meter, end_ns: int, first_ns: int, today: str) -> None:
        span = Span(max(end_ns - HISTORY_NS, first_ns), end_ns)
        names = {name for name in (power_of(self._plant, meter), account_of(self._plant, meter)) if name}
        names |= {f"current.{phase}" for phase in ("l1", "l2", "l3")}
        context, window = window_of(
            self._plant, self._store, meter, span, off_hours=off_hours_of(self._plant, span), only=names
        )
        self._learnt[meter.id] = (today, learn(context, window)[0])

    def _standing(self, now_ns: int) -> tuple[dict[str, int], set[str]]:
        """Where each gateway's meters stand in time, and which gateways are away.

        A gateway that talks is judged up to its newest reading: what is still on the way is not missing. One that is
        away is judged up to now, so that its meters turn out silent.
        """
        newest: dict[str, int] = {}
        for (name, _), reading in self._store.latest().items():
            meter = self._plant.meters.get(name)
            if meter is not None and reading.slot_ns <= now_ns + HOUR_NS:  # a clock in the future is no news of now
                gateway = self._plant.buses[meter.bus].gateway
                newest[gateway] = max(reading.read_ns + 1, newest.get(gateway, 0))
        heard = self._heard()
        gone = {gateway for gateway in newest if now_ns - max(heard.get(gateway, 0), self._started_ns) > self._away_ns}
        return {gateway: now_ns if gateway in gone else end_ns for gateway, end_ns in newest.items()}, gone

    def _first_slot(self) -> int:
        """Before the plant's first reading nothing was missing."""
        known = self._catalogue.marks("rollup.known").values()
        return min((int(text.split(" ")[0]) for text in known), default=0)

    # -- the chain ---------------------------------------------------------------------------------------------------
    def _check_chain(self, now_ns: int) -> None:
        """Check what has come without a hole since the last round; a break is written down once, and said aloud."""
        for gateway in self._store.gateways():
            for epoch, ranges in self._store.received(gateway).items():
                name = f"{gateway}/{epoch}"
                mark = self._catalogue.mark("chain", name)
                before = _link(mark)
                start = before.seq if before is not None else 0
                end = next((last for first, last in ranges if first <= start + 1 <= last), start)
                links = [link for link in self._store.links(gateway, epoch, start, _LINKS_A_ROUND) if link.seq <= end]
                for found in chain_breaks(links, before):
                    new = self._catalogue.put_chain_break(
                        gateway, epoch, found.seq, found.expected, found.found, now_ns
                    )
                    if new:
                        _LOG.error(
                            "gateway %s: batch %d of epoch %s does not follow the one before it: "
                            "something between them was changed", gateway, found.seq, epoch,
                        )  # fmt: skip
                if links:
                    last = links[-1]
                    self._catalogue.set_mark("chain", name, f"{last.seq} {last.prev.hex()} {last.digest.hex()}")


def _link(mark: str | None) -> Link | None:
    if mark is None:
        return None
    seq, prev, digest = mark.split(" ")
    return Link(int(seq), bytes.fromhex(prev), bytes.fromhex(digest))
