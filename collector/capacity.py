"""What a line can carry, before anything is started: the schedule proof.

Every request of every meter is counted byte by byte, as the codec would send it, with the silences of the line and the
time a meter takes to answer. From that follow how long a round takes, how busy the line is, how soon after a quarter
hour the counters are in, and what dead meters cost. What no line could carry, even with meters that answer at once, is
wrong; what this line will probably not carry is worth a warning.

References
----------
MODBUS over Serial Line V1.02, clause 2.5.1.1 (silences); DL/T 645-2007, clause 5.4 (a meter answers after 20 to
500 ms).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import lcm

from collector.bus import GUARD_S, Line, Question, silence_before
from collector.contact import PROBE_MOST_S
from collector.dialects import AnyDialect, dialect_of
from collector.errands import PERIODS
from collector.requests import Piece
from collector.schedule import periods_of
from meterline.clock import NS
from meterline.plant import Plant
from meterline.profiles import Rate
from meterline.settings import Rates
from meterline.site import Bus, Meter

USUAL_TURNAROUND_S = {"modbus": 0.05, "dlt645": 0.1}
"""What meters on serial lines take to begin an answer, where nobody has measured it. [s]"""
LEAST_TURNAROUND_S = {"dlt645": 0.02}
"""What they take at the very least. [s]"""
USUAL_ON_TCP_S = 0.02
"""What a meter's own Ethernet port, or a gateway without its serial line, takes. [s]"""
BUSY = 0.8
"""A line busier than this has no room for retries, dead meters and errands."""
MOST_SLOTS = 100_000
"""Slots looked at one by one to see which classes fall together; classes that meet more seldom are added up."""
Rated = frozenset[Rate]


@dataclass(frozen=True, slots=True)
class Load:
    """What something costs its line.

    Attributes
    ----------
    requests
        How many.
    bytes
        Sent and received. [bytes]
    wire_s
        Time of these bytes, and of the silences that part them. [s]
    wait_s
        Time the line waits for meters to begin their answers. [s]
    """

    requests: float = 0
    bytes: float = 0
    wire_s: float = 0.0
    wait_s: float = 0.0

    def __add__(self, other: Load) -> Load:
        return Load(
            self.requests + other.requests,
            self.bytes + other.bytes,
            self.wire_s + other.wire_s,
            self.wait_s + other.wait_s,
        )

    def times(self, share: float) -> Load:
        """So many of it."""
        return Load(self.requests * share, self.bytes * share, self.wire_s * share, self.wait_s * share)

    @property
    def total_s(self) -> float:
        """Time on the line. [s]"""
        return self.wire_s + self.wait_s


@dataclass(frozen=True, slots=True)
class Round:
    """All meters of a bus asked once for some rate classes.

    Attributes
    ----------
    rates
        Which classes.
    every_s
        How often they are due together, at least. [s]
    load
        What it costs.
    """

    rates: Rated
    every_s: float
    load: Load


@dataclass(frozen=True, slots=True)
class BusProof:
    """What one bus is asked to carry, and whether it can.

    Attributes
    ----------
    rounds
        From the most frequent to the fullest.
    counters
        Asking all counters, as at a quarter hour.
    errands
        What has no slot to keep, in one second.
    busy, busy_at_least
        Share of the time the line is in use: with usual meters, and with ones that answer at once.
    dead_first_s, dead_after_s
        The fullest round with so many dead meters: when they have just died, and a minute later. [s]
    """

    bus: str
    where: str
    meters: int
    points: int
    rounds: tuple[Round, ...]
    counters: Load
    errands: Load
    busy: float
    busy_at_least: float
    dead: int
    dead_first_s: float
    dead_after_s: float

    @property
    def fullest(self) -> Round | None:
        """The round that takes longest."""
        return max(self.rounds, key=lambda one: one.load.total_s, default=None)

    @property
    def impossible(self) -> bool:
        """No line of this speed can do it, however quick its meters are."""
        return self.busy_at_least > 1

    @property
    def too_slow(self) -> bool:
        """It will probably not keep up: slots will be skipped."""
        return self.busy > 1

    @property
    def is_tight(self) -> bool:
        """It keeps up, with little room."""
        return BUSY < self.busy <= 1


class _Nowhere:
    """The line as far as frames are concerned; nothing is opened."""

    def __init__(self, bus: Bus) -> None:
        self.bus, self.frames_by_silence = bus, bus.kind != "modbus-tcp"

    def next_transaction(self) -> int:
        return 1


class _Costs:
    """What the requests of one bus cost.

    Parameters
    ----------
    turnaround_s
        Time to the begin of an answer; None for what is usual. [s]
    """

    def __init__(self, bus: Bus, plant: Plant, turnaround_s: float | None) -> None:
        self.bus, self.turnaround_s = bus, turnaround_s
        self.meters = plant.meters_on(bus.id)
        self.dialects = {m.id: dialect_of(plant.profile_of(m), m.address) for m in self.meters}
        self._known: dict[tuple[str, int, Rated, bool], Load] = {}

    def turn(self, meter: Meter, rates: Rated, *, only_counters: bool = False) -> Load:
        """One meter asked for some rate classes."""
        dialect = self.dialects[meter.id]
        key = (str(meter.settings_on(self.bus)), id(dialect.profile), rates, only_counters)
        if meter.gap_ms or key not in self._known:
            blocks: Iterable[Piece] = dialect.plan(rates).blocks
            load = Load()
            for block in blocks:
                if block.has_counter or not only_counters:
                    load += self.request(meter, dialect, block)
            self._known[key] = load
        return self._known[key]

    def request(self, meter: Meter, dialect: AnyDialect, block: Piece) -> Load:
        """One question and its usual answer."""
        line: Line = _Nowhere(self.bus)  # type: ignore[assignment]  # all that a question asks of a line
        question: Question = dialect.question(dialect.request(block), line)
        count = len(question.request) + question.answer_length
        wait_s = self.wait_s(dialect)
        if not line.frames_by_silence:
            return Load(1, count, max(self.bus.gap_ms, dialect.gap_s * 1000, meter.gap_ms) / 1000, wait_s)
        settings = meter.settings_on(self.bus)
        gap_s = max(silence_before(question, settings), self.bus.gap_ms / 1000, dialect.gap_s, meter.gap_ms / 1000)
        return Load(1, count, count * settings.character_s + gap_s, wait_s)

    def wait_s(self, dialect: AnyDialect) -> float:
        if self.turnaround_s is not None:
            return max(self.turnaround_s, LEAST_TURNAROUND_S.get(dialect.profile.protocol, 0.0))
        if self.bus.kind == "modbus-tcp":
            return USUAL_ON_TCP_S
        return USUAL_TURNAROUND_S.get(dialect.profile.protocol, 0.05)

    def sweep(self, rates: Rated, *, only_counters: bool = False) -> Load:
        """All meters, once."""
        load = Load()
        for meter in self.meters:
            load += self.turn(meter, rates, only_counters=only_counters)
        if load.requests:
            load += self.switches()
        return load

    def switches(self) -> Load:
        """Changes of speed or parity in a round: meters of one setting take their turns together."""
        settings = {meter.settings_on(self.bus) for meter in self.meters}
        if len(settings) < 2:
            return Load()
        guards = sum(max(GUARD_S, one.silence_s) for one in settings)
        return Load(0, 0, guards, 0.0)

    def dead_turn_s(self, meter: Meter, *, settled: bool) -> float:
        """What a meter that does not answer costs: each question its time-out, and at first as much silence again."""
        dialect = self.dialects[meter.id]
        within_s = self.bus.timeout_s or max(
            self.bus.answer_within_s, 0.6 if dialect.profile.protocol == "dlt645" else 0
        )
        if settled:
            return within_s
        serial = self.bus.kind != "modbus-tcp"
        return 2 * within_s * (2 if serial else 1)


def prove(bus: Bus, plant: Plant, rates: Rates, *, dead: int = 1, turnaround_s: float | None = None) -> BusProof:
    """Work out what a bus is asked to carry.

    Parameters
    ----------
    dead
        So many dead meters are reckoned with.
    turnaround_s
        Time meters take to begin an answer, where it has been measured. [s]
    """
    costs = _Costs(bus, plant, turnaround_s)
    least = _Costs(bus, plant, 0.0)
    periods = periods_of(rates)
    used = frozenset(
        d.profile.rate_of(point) for d in costs.dialects.values() for point in d.profile.points if point.enabled
    )
    at_once = bus.in_flight or 1
    shares = _meetings({rate: period for rate, period in periods.items() if rate in used})
    rounds = tuple(
        Round(together, 1 / per_s, costs.sweep(together))
        for together, per_s in sorted(shares.items(), key=lambda item: (-item[1], len(item[0])))
    )
    errands = Load()
    for rate, period_ns in PERIODS.items():
        if rate in used:
            errands += costs.sweep(frozenset({rate})).times(NS / period_ns)
    busy = (sum(one.load.total_s / one.every_s for one in rounds) + errands.total_s) / at_once
    at_least = sum(least.sweep(one.rates).total_s / one.every_s for one in rounds) / at_once
    full_s = max((one.load.total_s for one in rounds), default=0.0) / at_once
    worst = sorted(costs.meters, key=lambda m: costs.dead_turn_s(m, settled=False), reverse=True)[:dead]
    everything = frozenset(periods) & used
    spared_s = sum(costs.turn(meter, everything).total_s for meter in worst)
    after = sum(costs.dead_turn_s(meter, settled=True) for meter in worst) / PROBE_MOST_S
    return BusProof(
        bus=bus.id,
        where=bus.where,
        meters=len(costs.meters),
        points=sum(1 for m in costs.meters for point in plant.profile_of(m).points if point.enabled),
        rounds=rounds,
        counters=costs.sweep(everything, only_counters=True),
        errands=errands,
        busy=busy,
        busy_at_least=at_least,
        dead=len(worst),
        dead_first_s=full_s - spared_s + sum(costs.dead_turn_s(meter, settled=False) for meter in worst),
        dead_after_s=(full_s - spared_s) * (1 + after),
    )


def _meetings(periods: dict[Rate, int]) -> dict[Rated, float]:
    """Which rate classes fall on the same slot, and how often a second."""
    if not periods:
        return {}
    whole, fastest = lcm(*periods.values()), min(periods.values())
    if whole // fastest > MOST_SLOTS:
        return {frozenset({rate}): NS / period for rate, period in periods.items()}
    slots: Counter[int] = Counter()
    for period in periods.values():
        slots.update(range(0, whole, period))
    together: Counter[Rated] = Counter(
        frozenset(rate for rate, period in periods.items() if slot % period == 0) for slot in slots
    )
    return {rates: count * NS / whole for rates, count in together.items()}
