"""Where the energy goes: what every metering point passes in each step, and the counters that integrate it exactly.

The tree of meters is evaluated children first: a meter with others below passes their sum, a little loss in the
cables, and whatever hangs on it directly. All in integers (`loads.Flows`), so that a main meter and its sub-meters
differ by exactly what the plant loses or does not meter, and a counter by exactly the integral of the shown power.

Everything is a function of time: the tallies of any moment follow from an *anchor* (the tallies at a quarter hour)
and the steps since. A restart loads the last anchor and is where it would have been.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isqrt
from typing import NamedTuple, Protocol

from collector.simulated.faults import Fault
from collector.simulated.loads import MILLIONTHS, NOTHING, STEP_S, Flows, Moment, PlantDay
from meterline.clock import NS
from meterline.plant import Plant

STEP_NS = STEP_S * NS
GRID_S = 900
"""Anchors, and the journal's rows, stand on this grid: the quarter hours intervals are made of. [s]"""
GRID_STEPS = GRID_S // STEP_S
LOSS_PER_MILLE = 8
"""Cable losses between a meter and those it feeds. [1/1000]"""
KEPT_ANCHORS = 400
"""About four days of quarter hours."""
Anchor = dict[str, dict[str, int]]
"""Meter -> tally -> value."""


class Source(Protocol):
    """Something that draws energy: a modelled consumer or a recording."""

    def flows(self, moment: Moment) -> Flows:
        """What it draws during one step."""
        ...


Rate = Callable[[Flows, Moment], int]


def _two_tariffs(part: int) -> Rate:
    return lambda f, m: max(f.p, 0) if (21_600 <= m.day_s < 79_200) == (part == 0) else 0


_BANDS = "222222222233333210011222"
"""Hour of the day -> 0 sharp 尖, 1 peak 峰, 2 flat 平, 3 valley 谷: shaped like an autumn day's tariff in Shandong."""


def _four_tariffs(part: int) -> Rate:
    return lambda f, m: max(f.p, 0) if int(_BANDS[m.day_s // 3600]) == part else 0


TALLIES: dict[str, Rate] = {
    "import": lambda f, m: max(f.p, 0),
    "export": lambda f, m: max(-f.p, 0),
    "import.l1": lambda f, m: max(f.p1, 0),
    "import.l2": lambda f, m: max(f.p2, 0),
    "import.l3": lambda f, m: max(f.p3, 0),
    "export.l1": lambda f, m: max(-f.p1, 0),
    "export.l2": lambda f, m: max(-f.p2, 0),
    "export.l3": lambda f, m: max(-f.p3, 0),
    "reactive.import": lambda f, m: max(f.q, 0),
    "reactive.export": lambda f, m: max(-f.q, 0),
    "apparent": lambda f, m: isqrt(f.p * f.p + f.q * f.q),
    "hours": lambda f, m: MILLIONTHS if f.p1 or f.p2 or f.p3 else 0,
    # held, not integrated: set at each quarter hour from "import"
    "demand": lambda f, m: 0,
    "demand.max": lambda f, m: 0,
    **{f"import.2.{part}": _two_tariffs(part) for part in range(2)},
    **{f"import.4.{part}": _four_tariffs(part) for part in range(4)},
}
"""What a meter can count, in millionths of the unit times ns (mW ns for electricity)."""


class State(NamedTuple):
    """A meter at a moment.

    Attributes
    ----------
    true
        What passes the metering point. Currents follow from it.
    seen
        What the meter measures: less, where a voltage is missing at its terminals.
    """

    moment: Moment
    true: Flows
    seen: Flows


class Physics:
    """The plant's energy flows and its meters' tallies.

    Parameters
    ----------
    plant, sources
        The tree of meters; what hangs directly on each. A meter without a source passes only what its sub-meters do.
    whole
        Meters whose source is their whole flow (a recording), sub-meters or not.
    day
        Calendar and time zone.
    faults
        All that is planted.
    wanted
        Meter -> names of the tallies its display needs.
    anchors
        Step -> tallies there; the latest is where to start.
    """

    def __init__(
        self,
        plant: Plant,
        sources: Mapping[str, Source],
        day: PlantDay,
        faults: Iterable[Fault],
        wanted: Mapping[str, Sequence[str]],
        anchors: Mapping[int, Anchor],
        *,
        whole: frozenset[str] = frozenset(),
    ) -> None:
        self._sources, self._day, self._whole = sources, day, whole
        self._faults: dict[str, list[Fault]] = {meter: [] for meter in plant.meters}
        for fault in faults:
            if fault.where in ("load", "meter"):
                self._faults[fault.meter].append(fault)
        self._rated = {meter.id: meter.rated or 0.0 for meter in plant.site.meters}
        self._children = {
            meter.id: [m.id for m in plant.site.meters if m.fed_by == meter.id and _same(plant, m.id, meter.id)]
            for meter in plant.site.meters
        }
        self._order = _children_first(self._children)
        self._wanted = {meter: [(name, TALLIES[name]) for name in names] for meter, names in wanted.items()}
        self.anchors: dict[int, Anchor] = dict(sorted(anchors.items()))
        self._step = max(self.anchors)
        self._tallies = {meter: dict(self.anchors[self._step][meter]) for meter in self._order}
        self.on_grid: Callable[[int], None] | None = None
        """Told of each quarter hour when it is reached, while it is *now*."""
        self._enter()

    @property
    def step(self) -> int:
        """The step the factory is in."""
        return self._step

    def advance(self, t_ns: int) -> None:
        """Go on to the step that holds `t_ns`; earlier moments change nothing. `on_grid` hears of each quarter hour."""
        last = t_ns // STEP_NS
        while self._step < last:
            for meter, tallies in self._tallies.items():
                _integrate(tallies, self._rates[meter], STEP_NS)
            self._step += 1
            for meter, tallies in self._tallies.items():
                self._boundary(meter, tallies, self._step)
            on_grid = self._step % GRID_STEPS == 0
            if on_grid:
                self.anchors[self._step] = self._copy()
                while len(self.anchors) > KEPT_ANCHORS:
                    del self.anchors[next(iter(self.anchors))]
            self._enter()
            if on_grid and self.on_grid is not None:
                self.on_grid(self._step)

    def tallies(self, meter: str, t_ns: int) -> dict[str, int]:
        """What a meter has counted up to a moment.

        Raises
        ------
        LookupError
            The moment is before the oldest anchor in memory.
        """
        self.advance(t_ns)
        step, within = divmod(t_ns, STEP_NS)
        if step == self._step:
            tallies = dict(self._tallies[meter])
            _integrate(tallies, self._rates[meter], within)
            return tallies
        start = max((anchor for anchor in self.anchors if anchor <= step), default=None)
        if start is None:
            raise LookupError(f"{meter}: nothing is remembered of {t_ns} ns; the journal file has it")
        tallies = dict(self.anchors[start][meter])
        for at in range(start, step):
            _integrate(tallies, self._rates_of(meter, self.state(meter, at)), STEP_NS)
            self._boundary(meter, tallies, at + 1)
        _integrate(tallies, self._rates_of(meter, self.state(meter, step)), within)
        return tallies

    def state(self, meter: str, step: int | None = None) -> State:
        """What a meter measures during a step (default: the one the factory is in)."""
        if step is None or step == self._step:
            return self._states[meter]
        moment = self._day.moment(step)
        return self._state(meter, moment, self._flows(moment)[meter])

    def _enter(self) -> None:
        moment = self._day.moment(self._step)
        flows = self._flows(moment)
        self._states = {meter: self._state(meter, moment, flows[meter]) for meter in self._order}
        self._rates = {meter: self._rates_of(meter, state) for meter, state in self._states.items()}

    def _flows(self, moment: Moment) -> dict[str, Flows]:
        found: dict[str, Flows] = {}
        for meter in self._order:
            source = self._sources.get(meter)
            own = source.flows(moment) if source else NOTHING
            children = self._children[meter]
            if children and meter not in self._whole:
                own = _sum(own, [found[child] for child in children])
            for fault in self._faults[meter]:
                if fault.where == "load" and fault.active(moment.t_s * NS):
                    own = self._with_load_fault(meter, own, fault, moment)
            found[meter] = own
        return found

    def _with_load_fault(self, meter: str, flows: Flows, fault: Fault, moment: Moment) -> Flows:
        if fault.kind == "overload":
            extra = round(fault.level * self._rated[meter] * MILLIONTHS) - flows.p
        else:  # night_load
            extra = 0 if moment.activity > 0.5 else round(fault.level * MILLIONTHS)
        third, lag = max(extra, 0) // 3, 2  # at a power factor of 0.89
        p1, p2, p3, q1, q2, q3 = flows
        return Flows(p1 + third, p2 + third, p3 + third, q1 + third // lag, q2 + third // lag, q3 + third // lag)

    def _state(self, meter: str, moment: Moment, flows: Flows) -> State:
        seen = flows
        for fault in self._faults[meter]:
            if fault.kind == "phase_loss" and fault.active(moment.t_s * NS):
                dead = round(fault.level) - 1
                seen = Flows(*(0 if n % 3 == dead else value for n, value in enumerate(seen)))
        return State(moment, flows, seen)

    def _rates_of(self, meter: str, state: State) -> list[tuple[str, int]]:
        backwards = any(
            fault.kind == "counter_backwards" and fault.active(state.moment.t_s * NS) for fault in self._faults[meter]
        )
        sign = -1 if backwards else 1
        return [(name, sign * rate(state.seen, state.moment)) for name, rate in self._wanted[meter]]

    def _boundary(self, meter: str, tallies: dict[str, int], step: int) -> None:
        """What happens to a counter between two steps: it is reset, and its demand period ends."""
        for fault in self._faults[meter]:
            if fault.kind == "counter_reset" and fault.start_ns == step * STEP_NS:
                tallies.update(dict.fromkeys(tallies, 0))
        if step % GRID_STEPS == 0 and "demand" in tallies:
            before = self.anchors.get(step - GRID_STEPS)
            if before is not None:
                tallies["demand"] = max(0, tallies["import"] - before[meter]["import"]) // (GRID_S * NS)
                tallies["demand.max"] = max(tallies["demand"], tallies.get("demand.max", 0))

    def _copy(self) -> Anchor:
        return {meter: dict(tallies) for meter, tallies in self._tallies.items()}


def _integrate(tallies: dict[str, int], rates: list[tuple[str, int]], span_ns: int) -> None:
    for name, rate in rates:
        if rate:
            tallies[name] = max(0, tallies[name] + rate * span_ns)


def _sum(own: Flows, children: list[Flows]) -> Flows:
    below = [sum(values) for values in zip(*children, strict=True)]
    return Flows(*(mine + value + value * LOSS_PER_MILLE // 1000 for mine, value in zip(own, below, strict=True)))


def _same(plant: Plant, one: str, other: str) -> bool:
    return plant.carrier_of(plant.meters[one]) == plant.carrier_of(plant.meters[other])


def _children_first(children: Mapping[str, list[str]]) -> list[str]:
    order: list[str] = []

    def visit(meter: str) -> None:
        for child in children[meter]:
            visit(child)
        order.append(meter)

    below = {child for group in children.values() for child in group}
    for meter in children:
        if meter not in below:
            visit(meter)
    return order
