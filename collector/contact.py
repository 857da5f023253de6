"""What we know of reaching one meter: whether it answers, what it refuses, which questions are still open.

All of it heals: a silent meter is probed ever more slowly but at least once a minute, a refusal is forgotten after an
hour and tried again. Nothing is disabled for good.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

from collector.budget import ReadBudget
from collector.dialects import AnyDialect, Decoder
from collector.patience import LearntPatience
from collector.plausibility import Plausibility
from collector.requests import NOTHING, Avoid, Piece, Plan
from meterline.clock import NS
from meterline.errors import BusError, Garbled, LineDown, Refused, Silent
from meterline.profiles import Rate
from meterline.readings import MissingSpan
from meterline.site import Meter

PROBE_FIRST_S, PROBE_MOST_S = 1.5, 48.0
"""Shortest and longest rest between two questions to a silent meter: it is heard within a minute of its return. [s]"""
PROBE_PLANT_NS = 900 * NS
"""On a simulated site's fast clock a minute is hours: there, not longer than this much plant time. [ns]"""
PROBE_SHARE = 10.0
"""... but never so often that probes of one meter take more than a tenth of the line."""
FORGET_NS = 3600 * NS
"""A refusal is believed this long. [ns]"""
ONE_IN = 8
"""Of the answers on a stream, hundreds a second, every so many is remembered."""
MUTE_AFTER = 3
"""Polls in a row in which a meter answers other requests but not this one, until the request counts as refused."""

_FIGURE_OF: tuple[tuple[type[BusError], str], ...] = ((Silent, "silent"), (Refused, "refused"), (Garbled, "garbled"))
FIGURES = ("requests", "good", "silent", "garbled", "refused", "late_bytes", "skipped", "response_ms")


@dataclass(frozen=True)
class Prepared:
    """A plan with the decoders of its answers, and what it was told to avoid."""

    plan: Plan[Any, Any]
    decoders: tuple[Decoder, ...]
    avoid: Avoid = NOTHING

    @classmethod
    def of(cls, dialect: AnyDialect, rates: frozenset[Rate], avoid: Avoid = NOTHING) -> Prepared:
        """Plan, and make the decoders once."""
        plan = dialect.plan(rates, avoid)
        return cls(plan, tuple(dialect.decoder(block, plan.points) for block in plan.blocks), avoid)


_PAGES: WeakValueDictionary[tuple[int, frozenset[Rate]], Prepared] = WeakValueDictionary()
"""What is ready for meters of one type, for as long as any of them uses it; by the identity of their page."""


def _shared(dialect: AnyDialect, rates: frozenset[Rate]) -> Prepared:
    key = (id(dialect.profile), rates)
    known = _PAGES.get(key)
    if known is None or known.plan.profile is not dialect.profile:
        known = _PAGES[key] = Prepared.of(dialect, rates)
    return known


@dataclass
class Contact:
    """One meter, as its line's poller sees it.

    Attributes
    ----------
    dialect
        How it is spoken to.
    failures
        Turns in a row that brought nothing.
    open_span
        The silence that lasts, if one does.
    unanswered
        Likenesses of questions that may still be answered late; on a serial line the next one must differ.
    """

    meter: Meter
    dialect: AnyDialect
    plausibility: Plausibility
    failures: int = 0
    cause: str = ""
    open_span: MissingSpan | None = None
    last_good_ns: int = 0
    unanswered: set[Hashable] = field(default_factory=set)
    patience: LearntPatience = field(default_factory=LearntPatience)
    figures: dict[str, float] = field(default_factory=lambda: dict.fromkeys(FIGURES, 0.0))
    budget: ReadBudget = field(init=False)
    """How often a day it may be asked."""
    _asked_s: float = -1e9
    _asked_ns: int = 0
    _cuts: dict[Hashable, int] = field(default_factory=dict)
    _refused: dict[str, int] = field(default_factory=dict)
    _mute: dict[Hashable, int] = field(default_factory=dict)
    _whole: dict[frozenset[Rate], Prepared] = field(default_factory=dict)
    _prepared: dict[frozenset[Rate], Prepared] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.budget = ReadBudget(self.dialect.reads_per_day)

    def prepared(self, rates: frozenset[Rate], slot_ns: int) -> Prepared:
        """The plan for some rate classes: the page's own (shared by all meters of the type), or what is left of it."""
        if self._cuts or self._refused:
            self._cuts = {place: since for place, since in self._cuts.items() if slot_ns - since < FORGET_NS}
            self._refused = {name: since for name, since in self._refused.items() if slot_ns - since < FORGET_NS}
        if not self._cuts and not self._refused:
            known = self._whole.get(rates)
            if known is None:
                known = self._whole[rates] = _shared(self.dialect, rates)
            return known
        avoid = Avoid(frozenset(self._cuts), frozenset(self._refused))
        own = self._prepared.get(rates)
        if own is None or own.avoid != avoid:
            own = self._prepared[rates] = Prepared.of(self.dialect, rates, avoid)
        return own

    @cached_property
    def gap_s(self) -> float:
        """Rest the meter needs before a question, by its page or by the site. [s]"""
        return max(self.dialect.gap_s, self.meter.gap_ms / 1000)

    @property
    def within_s(self) -> float | None:
        """How long to wait for the begin of an answer; None: as long as its protocol allows. [s]

        A meter that is being given up gets its full time at every fourth attempt: it may have come back slower.
        """
        return None if self.failures % 4 == 3 else self.patience.within_s

    def count(self, error: BusError) -> None:
        """A question came to nothing."""
        for kind, figure in _FIGURE_OF:
            if isinstance(error, kind):
                self.figures[figure] += 1
                return

    def heard(self, block: Piece, took_ns: int) -> None:
        """A planned request was answered."""
        self.figures["response_ms"] = took_ns / 1e6
        if self.figures["good"] % ONE_IN == 0:
            self.patience.took(took_ns / NS)
        if self._mute:
            self._mute.pop(block.place, None)

    def learn_cut(self, place: Hashable, slot_ns: int) -> None:
        """A request had to be parted here; see `Avoid.cuts`."""
        self._cuts[place] = slot_ns

    def learn_refused(self, measurand: str, slot_ns: int) -> None:
        """The meter refuses this point asked for by itself."""
        self._refused[measurand] = slot_ns

    def is_mute(self, block: Piece) -> bool:
        """Count one more poll without this block's answer; whether it should be treated as refused."""
        place = block.place
        self._mute[place] = self._mute.get(place, 0) + 1
        return self._mute[place] >= MUTE_AFTER

    def not_mute(self, block: Piece) -> None:
        """The block was answered."""
        if self._mute:
            self._mute.pop(block.place, None)

    def is_due(self, now_s: float, now_ns: int, cost_s: float) -> bool:
        """Whether a meter may be asked: always while it answers, ever more seldom while it does not."""
        if not self.failures:
            return True
        rest = min(PROBE_FIRST_S * 2.0 ** min(self.failures - 1, 10), PROBE_MOST_S)
        passed = now_s - self._asked_s
        return passed >= rest or (now_ns - self._asked_ns >= PROBE_PLANT_NS and passed >= PROBE_SHARE * cost_s)

    def is_overdue(self, now_s: float) -> bool:
        """Whether a silent meter has waited so long that it goes before others."""
        return now_s - self._asked_s >= PROBE_MOST_S

    def asked(self, now_s: float, now_ns: int) -> None:
        """Note when a turn was spent on it."""
        self._asked_s, self._asked_ns = now_s, now_ns

    def missed(self, slot_ns: int, cause: str) -> MissingSpan | None:
        """A turn brought nothing: the span this opens, if it is the first.

        A line that is down says nothing about its meters, and is retried at its own pace.
        """
        self.failures += cause != LineDown.cause
        self.cause = cause
        if self.open_span is not None:
            return None
        self.open_span = MissingSpan(self.meter.id, slot_ns, None, cause)
        return self.open_span

    def answered(self, slot_ns: int) -> MissingSpan | None:
        """A turn brought something: the span this closes, if one was open."""
        self.failures, self.cause, self.last_good_ns = 0, "", slot_ns
        if self.open_span is None:
            return None
        span, self.open_span = self.open_span, None
        return MissingSpan(span.meter, span.start_ns, max(slot_ns, span.start_ns), span.cause)
