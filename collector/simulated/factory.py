"""The whole factory: loads, meters, faults and lines of one site, in one process on one event loop."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from collector.simulated.answer_meters import FieldMeter, RecordMeter
from collector.simulated.answering import Answerer, AnyMeter
from collector.simulated.counting import start_tallies, tallies_wanted
from collector.simulated.display import Display, Shown
from collector.simulated.electrical import Grid
from collector.simulated.faults import Fault, Recipe, plant_faults
from collector.simulated.item_meters import ItemMeter
from collector.simulated.journal import FactoryState, ShownJournal
from collector.simulated.lines import Line, Timing, line_of
from collector.simulated.loads import STEP_S, Consumer, Load, PlantDay
from collector.simulated.meters import SimulatedMeter
from collector.simulated.noise import chance, seed_of
from collector.simulated.physics import GRID_STEPS, STEP_NS, Anchor, Physics, Source
from meterline.clock import NS, Clock
from meterline.measurands import Carrier
from meterline.plant import Plant
from meterline.site import Meter

OFF_AFTER_S = 3 * 86_400
"""A factory not run for longer than this was switched off meanwhile: its counters stand where they stood. [s]"""
DEFAULT_PEAK = 30.0
"""Of a meter whose rating the site does not tell. [kW, m3/h, t/h]"""


class Factory:
    """A plant that answers real frames.

    Everything shown is a function of plant time, the seed and what is planted; stopping and starting it again (with
    the same `state_dir`) shows the same numbers at the same moments.

    Parameters
    ----------
    plant
        The site; every bus of it is served.
    clock
        Plant time.
    seed
        Another number, another (equally plausible) plant.
    loads
        Meter -> what hangs on it. A meter not named gets a load fit for its rating, unless it feeds others: then its
        sub-meters are its load.
    faults
        Timetable of this run.
    replay
        Meter -> recording that is its whole flow; see `collector.simulated.replay`.
    state_dir
        Where the factory remembers; None: nowhere, it starts anew each time.
    timing
        How fast the meters answer.
    journal_reads
        Whether the journal also takes what each answered read showed, not only the quarter hours.
    """

    def __init__(
        self,
        plant: Plant,
        clock: Clock,
        *,
        seed: int = 1,
        loads: Mapping[str, Load] | None = None,
        faults: Iterable[Recipe] = (),
        replay: Mapping[str, Source] | None = None,
        state_dir: Path | None = None,
        timing: Timing | None = None,
        journal_reads: bool = False,
    ) -> None:
        self.plant, self.clock, self.seed = plant, clock, seed
        self._timing, self._state_dir, self._journal_reads = timing or Timing(), state_dir, journal_reads
        now_ns = clock.now_ns()
        self._state = FactoryState(state_dir) if state_dir else None
        earlier, anchors = self._state.load() if self._state else ([], {})
        begun = [fault for fault in earlier if fault.start_ns <= now_ns and fault.meter in plant.meters]
        self.faults: tuple[Fault, ...] = (*begun, *plant_faults(faults, plant, now_ns))
        """All that is planted: what earlier runs began, and this run's timetable."""
        recorded = dict(replay or {})
        modelled = {**_default_loads(plant, recorded), **(loads or {})}
        sources: dict[str, Source] = {
            meter: Consumer(load, seed_of(meter, seed), three_phase=_electric(plant, meter))
            for meter, load in modelled.items()
            if meter not in recorded
        }
        sources |= recorded
        self._start = self._start_anchors(anchors, now_ns, {m: _mean(m, modelled, plant) for m in plant.meters})
        self._physics = Physics(
            plant,
            sources,
            PlantDay(plant.site.site.calendar, plant.site.site.zone),
            self.faults,
            {meter.id: tallies_wanted(plant.profile_of(meter)) for meter in plant.site.meters},
            self._start,
            whole=frozenset(recorded),
        )
        grid = Grid(seed_of(plant.site.site.id, seed))
        self.meters: dict[str, AnyMeter] = {
            meter.id: meter_of(meter, plant, self._physics, grid, [f for f in self.faults if f.meter == meter.id], seed)
            for meter in plant.site.meters
        }
        self._shown: ShownJournal | None = None
        self._answerers: list[Answerer] = []
        self._lines: list[Line] = []

    async def serve(self, ready: Callable[[], None] | None = None) -> None:
        """Open every line and answer until cancelled.

        Parameters
        ----------
        ready
            Called once, when all lines answer.

        Raises
        ------
        Unreachable
            A port or a path is taken. Nothing stays open.
        ConfigError
            A bus of the site is on another machine.
        """
        try:
            self._open_files()
            for bus in self.plant.site.buses:
                answerer = Answerer(
                    [self.meters[meter.id] for meter in self.plant.meters_on(bus.id)],
                    self.clock,
                    timeout_s=bus.answer_within_s,
                    serial=bus.kind != "modbus-tcp",
                    witness=self._witness if self._journal_reads and self._state_dir else None,
                )
                line = line_of(bus, answerer, self._timing)
                await line.open()
                self._answerers.append(answerer)
                self._lines.append(line)
            if ready is not None:
                ready()
            await self._keep_time()
        finally:
            for line in self._lines:
                await line.close()
            self._lines.clear()
            self._close_files()

    def planted(self, now_ns: int) -> list[Fault]:
        """The faults that have begun, earliest first. Whether one is still on: `Fault.active`."""
        return [fault for fault in self.faults if fault.start_ns <= now_ns]

    def displayed(self, meter: str, measurand: str, t_ns: int) -> Shown:
        """What a meter's display shows at a moment: the oracle.

        Raises
        ------
        KeyError
            No such meter, or its profile does not offer the measurand.
        LookupError
            The moment is longer ago than four days (``shown.jsonl`` has its quarter hours) or before the start.
        """
        return self.meters[meter].shown(measurand, t_ns)

    @property
    def answered(self) -> int:
        """Reads answered with words since `serve`."""
        return sum(answerer.answered for answerer in self._answerers)

    # ---------------------------------------------------------------------------------------------------- inside

    def _start_anchors(
        self, anchors: Mapping[int, Anchor], now_ns: int, means: Mapping[str, float]
    ) -> dict[int, Anchor]:
        """Where to begin: the last quarter hour remembered before now, or the very beginning."""
        now = now_ns // STEP_NS
        usable = {step: anchor for step, anchor in anchors.items() if step <= now}
        if not usable and anchors:
            # The clock is before all we know: hold still at the earliest counters, never below them.
            usable = {now: anchors[min(anchors)]}
        day = dt.datetime.fromtimestamp(now_ns / NS, self.plant.site.site.zone).date()
        new = {
            meter.id: start_tallies(meter, self.plant, means[meter.id], self.seed, day)
            for meter in self.plant.site.meters
        }
        known = {step: {m: {**new[m], **anchor.get(m, {})} for m in new} for step, anchor in usable.items()}
        if not known:
            return {now: new}
        last = max(known)
        if (now - last) * STEP_S > OFF_AFTER_S:
            return {now: known[last]}
        return known

    def _open_files(self) -> None:
        if self._state is not None and self._state_dir is not None:
            self._state.begin(self.faults, self._physics.anchors)
            self._shown = ShownJournal(self._state_dir)
            self._physics.on_grid = self._quarter_hour
            if self._physics.step % GRID_STEPS == 0:
                self._quarter_hour(self._physics.step)

    def _close_files(self) -> None:
        if self._state is not None:
            self._state.close()
        if self._shown is not None:
            self._shown.close()
            self._shown = None

    async def _keep_time(self) -> None:
        """Move the plant on, whether or not anybody reads, and write down every quarter hour."""
        while True:
            now_ns = self.clock.now_ns()
            self._physics.advance(now_ns)
            next_ns = (now_ns // (60 * NS) + 1) * 60 * NS
            await self.clock.sleep_until(next_ns)

    def _quarter_hour(self, step: int) -> None:
        if self._state is not None:
            self._state.add(step, self._physics.anchors[step])
        if self._shown is not None:
            for meter in self.meters.values():
                self._note(meter, step * STEP_NS, "grid", meter.counters)
            self._shown.flush()

    def _witness(self, meter: Display, t_ns: int, counters: list[str]) -> None:
        self._note(meter, t_ns, "read", counters)

    def _note(self, meter: Display, t_ns: int, why: str, counters: list[str]) -> None:
        if self._shown is not None:
            shown = {name: meter.shown(name, t_ns).number for name in counters}
            self._shown.add(t_ns, meter.meter.id, why, shown)


def meter_of(meter: Meter, plant: Plant, physics: Physics, grid: Grid, faults: list[Fault], seed: int) -> AnyMeter:
    """The meter that answers as its profile's protocol wants."""
    kinds: dict[str, type[SimulatedMeter | ItemMeter | FieldMeter | RecordMeter]] = {
        "modbus": SimulatedMeter,
        "dlt645": ItemMeter,
        "cjt188": FieldMeter,
        "mbus": RecordMeter,
    }
    return kinds[plant.profile_of(meter).protocol](meter, plant, physics, grid, faults, seed)


def _electric(plant: Plant, meter: str) -> bool:
    return plant.carrier_of(plant.meters[meter]) is Carrier.ELECTRICITY


def _default_loads(plant: Plant, recorded: Mapping[str, Source]) -> dict[str, Load]:
    """A load for every meter that has none: fit for its rating. A meter that feeds others gets a little of its own."""
    feeding = {meter.fed_by for meter in plant.site.meters}
    return {
        meter.id: _default_load(meter, plant, feeds=meter.id in feeding)
        for meter in plant.site.meters
        if meter.id not in recorded
    }


def _default_load(meter: Meter, plant: Plant, *, feeds: bool) -> Load:
    rated = meter.rated or DEFAULT_PEAK
    if feeds:
        return Load(shape="base", peak=rated * 0.02)
    idle = meter.idle if meter.idle is not None else rated * 0.04
    carrier = plant.carrier_of(meter)
    if carrier is Carrier.WATER:
        return Load(shape="tap", peak=max(rated * 0.6, idle), idle=idle)
    shapes = ("workshop", "workshop", "compressor", "furnace") if carrier is Carrier.ELECTRICITY else ("workshop",)
    shape = shapes[int(len(shapes) * chance(seed_of(meter.id, 0), 3))]
    return Load.model_validate({"shape": shape, "peak": max(rated * 0.62, idle), "idle": idle})


def _mean(meter: str, loads: Mapping[str, Load], plant: Plant) -> float:
    """A rough usual flow, for a start value of the counter."""
    below = sum(_mean(child.id, loads, plant) for child in plant.site.meters if child.fed_by == meter)
    load = loads.get(meter)
    if load is None:
        return (plant.meters[meter].rated or DEFAULT_PEAK) * 0.3
    return below + load.idle + 0.4 * (load.peak - load.idle)
