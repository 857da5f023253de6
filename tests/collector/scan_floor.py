"""A factory floor for scans: simulated meters of many makes on one pair of wires."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from collector.scan import Event, Found, Scan
from collector.scan_plan import Progress, stages_of
from collector.simulated.answer_meters import FieldMeter, RecordMeter
from collector.simulated.factory import Factory
from collector.simulated.item_meters import ItemMeter
from collector.simulated.meters import SimulatedMeter
from meterline.lines import LineSettings
from meterline.profiles import Profile
from meterline.site import Bus
from tests.collector.rs485 import Drop, FieldDrop, ItemDrop, ModbusDrop, RecordDrop, Wires
from tests.collector.sites import SHIPPED, plant
from tests.collector.virtual_time import LoopClock, run

N9600, E2400, E9600, E19200, N19200 = (
    LineSettings(9600, "N"),
    LineSettings(2400, "E"),
    LineSettings(9600, "E"),
    LineSettings(19200, "E"),
    LineSettings(19200, "N"),
)
SERIAL = Bus(id="line", kind="serial", gateway="gw", device="/dev/null")
ITEM_METER = "dlt645-2007-three-phase"


@dataclass(frozen=True)
class On:
    """One meter of a floor."""

    profile: str
    address: str
    settings: LineSettings = N9600
    manners: Mapping[str, Any] = field(default_factory=dict)


def wires_with(clock: LoopClock, meters: Sequence[On]) -> Wires:
    """The wires of a floor; meters show what the simulated factory makes them show."""
    # Meters may share an address here, but not in a site file: there they get addresses of their own.
    taken: set[str] = set()
    rows = []
    for on in meters:
        address = on.address
        while address in taken:
            address = f"{(int(address) + 1):0{len(address)}d}"
        taken.add(address)
        rows.append({"profile": on.profile, "address": address, "rated": 50})
    factory = Factory(plant({"kind": "rtu-over-tcp", "host": "127.0.0.1"}, *rows), clock)
    drops: list[Drop] = []
    for on, meter in zip(meters, factory.meters.values(), strict=True):
        if isinstance(meter, ItemMeter):
            meter.address = on.address
            drops.append(ItemDrop(meter, on.settings, clock, **on.manners))
        elif isinstance(meter, FieldMeter):
            drops.append(FieldDrop(meter, on.settings, clock, **on.manners))
        elif isinstance(meter, RecordMeter):
            drops.append(RecordDrop(meter, on.settings, clock, **on.manners))
        else:
            assert isinstance(meter, SimulatedMeter)
            meter.address = int(on.address)
            drops.append(ModbusDrop(meter, on.settings, clock, **on.manners))
    return Wires(drops)


@dataclass
class Outcome:
    """A scan that is over."""

    scan: Scan
    wires: Wires
    took_s: float
    events: list[Event]
    error: Exception | None = None

    @property
    def found(self) -> dict[str, Found]:
        return {each.address: each for each in self.scan.found}

    @property
    def remarks(self) -> set[str]:
        return {remark.code for remark in self.scan.remarks}

    @property
    def progress(self) -> list[Progress]:
        return [event for event in self.events if isinstance(event, Progress)]


def scanned(
    meters: Sequence[On],
    *,
    before: Any = None,
    profiles: Mapping[str, Profile] = SHIPPED,
    anyway: bool = False,
    thorough: bool = False,
    within_s: float | None = None,
    **limits: Any,
) -> Outcome:
    """Scan a floor on virtual time; `before` may do something to the wires first."""

    async def scenario(clock: LoopClock) -> Outcome:
        wires = wires_with(clock, meters)
        if before is not None:
            before(wires)
        events: list[Event] = []
        stages = stages_of(SERIAL, fixed=False, profiles=profiles.values(), **limits)
        scan = Scan(
            SERIAL, clock, stages, profiles, events.append, transport_of=wires.end, anyway=anyway, thorough=thorough
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        began, error = loop.time(), None
        try:
            async with asyncio.timeout(within_s):
                await scan.run()
        except Exception as raised:  # noqa: BLE001 - handed to the test, which says which one it expects
            error = raised
        return Outcome(scan, wires, loop.time() - began, events, error)

    outcome = run(scenario)
    if outcome.error is not None and within_s is None and not hasattr(outcome.error, "heard"):
        raise outcome.error
    return outcome
