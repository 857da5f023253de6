"""Errands between turns on a real line: every poll keeps its slot, and what the meter remembers arrives beside them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from collector import BusMaster
from collector.protocols.dlt645 import frames_in
from collector.simulated import Factory, Load
from collector.simulated.item_meters import ItemMeter
from meterline.clock import NS
from meterline.lines import LineSettings
from meterline.readings import Poll, Quality, Source
from meterline.settings import Rates
from tests.collector.peers import FakeMeter, MemoryLine
from tests.collector.rs485 import ItemDrop, Wires
from tests.collector.simulated.sites import meter, plant, profile
from tests.collector.sites import Collected
from tests.collector.virtual_time import LoopClock, during, run

SETTINGS = LineSettings(2400, "E", 1)
QUARTER_NS = 900 * NS
LOAD_RECORDS = bytes.fromhex("01 00 04 06")
"""Identifier 06040001, low byte first."""


class Line:
    """Meters of DL/T 645 at 2400 baud, and the collector beside them."""

    def __init__(self, meters: int = 1) -> None:
        self.got = Collected()
        self.site = plant(
            [
                meter(f"m{n}", profile="dlt645-2007-three-phase", address=f"{n:012d}", bus="line")
                for n in range(1, meters + 1)
            ],
            [{"id": "line", "kind": "serial", "gateway": "gw", "device": "/dev/null", "baud": 2400, "parity": "E"}],
        )
        self.drops: list[ItemDrop] = []

    def play(self, seconds: float, *, silent: tuple[float, float] | None = None, **options: Any) -> None:
        async def scenario(clock: LoopClock) -> None:
            factory = Factory(self.site, clock, loads={name: Load(shape="base", peak=40) for name in self.site.meters})
            for made in factory.meters.values():
                assert isinstance(made, ItemMeter)
                self.drops.append(ItemDrop(made, SETTINGS, clock, delay_s=0.1))
            wires = Wires(list(self.drops))
            bus = self.site.buses["line"]
            if "missed_for_s" in options:
                options["missed_since_ns"] = clock.now_ns() - round(options.pop("missed_for_s") * NS)
            master = BusMaster(
                bus, self.site, Rates(fast_s=60, normal_s=60, slow_s=900), clock, self.got,
                transport=wires.end(bus), **options,
            )  # fmt: skip
            if silent is not None:
                origin_ns = clock.now_ns()
                for drop in self.drops:
                    real = drop.meter.reply

                    def reply(control: int, data: bytes, t_ns: int, real: Any = real) -> Any:
                        dark = silent[0] <= (t_ns - origin_ns) / NS < silent[1]
                        return None if dark else real(control, data, t_ns)

                    drop.meter.reply = reply  # type: ignore[method-assign]
            await during(seconds, master.run())

        run(scenario)

    def memory(self) -> list[Poll]:
        return [poll for poll in self.got.polls if poll.source is Source.METER_MEMORY]


def test_errands_come_between_the_turns_and_no_slot_is_missed() -> None:
    line = Line(meters=3)
    line.play(600)
    for name in line.site.meters:
        polls = [p for p in line.got.polls if p.meter == name and p.shape.columns[0].measurand.startswith("energy")]
        assert len({poll.slot_ns for poll in polls}) == 10
        seen = {c.measurand for p in line.got.polls if p.meter == name for c in p.shape.columns}
        assert {"clock.time", "identity.number", "events.cover_open", "events.voltage_loss.l3"} <= seen
    assert not line.got.spans
    asked = Counter(c.measurand for p in line.got.polls for c in p.shape.columns)
    assert asked["identity.number"] == 3, "once a day, not once a cycle"


def test_after_an_outage_the_gap_is_filled_from_the_meters_load_curve() -> None:
    line = Line()
    line.play(3 * 3600, silent=(1800, 7200))
    (opened, closed) = line.got.spans
    assert closed.end_ns is not None
    fetched = {
        poll.read_ns(0): poll for poll in line.memory() if poll.shape.columns[0].measurand == "energy.active.import"
    }
    assert set(fetched) == set(range(-(-opened.start_ns // QUARTER_NS) * QUARTER_NS, closed.end_ns, QUARTER_NS))
    factory_meter = line.drops[0].meter
    for slot_ns, poll in fetched.items():
        assert poll.numbers[0] == factory_meter.shown("energy.active.import", slot_ns).number
        assert poll.slot_ns == slot_ns - 1_000_000
        assert poll.exchanges, "the frames are kept as evidence"


def test_what_was_missed_while_the_gateway_was_off_is_asked_for_at_its_start() -> None:
    """The records of the load curve from the minute on in which the gateway stopped (2023-11-15 05:15 plant time)."""
    for missed_for_s, questions in ((3600, 1), (0, 0)):
        line = Line()
        frames: list[bytes] = []
        line.play(120, tap=lambda _, exchange, to=frames: to.append(exchange.request), missed_for_s=missed_for_s)
        asked = [frame.data for raw in frames for _, _, frame in frames_in(raw) if frame.data.startswith(LOAD_RECORDS)]
        assert asked == [LOAD_RECORDS + bytes.fromhex("05 15 05 15 11 23")] * questions


@pytest.mark.parametrize("kind", ["serial", "modbus-tcp"])
@pytest.mark.parametrize(("serial", "swapped"), [("65538", False), ("4711", True), ("", False)])
def test_a_modbus_meter_that_tells_its_number_is_compared_with_the_inventory(
    kind: str, serial: str, swapped: bool
) -> None:
    """Also where the connection drives itself: it gives way for the errand and loses no slot."""
    page = profile(
        defaults={"table": "holding", "type": "uint16"},
        points=[
            {"measurand": "energy.active.import", "at": 10, "type": "uint32", "unit": "kWh"},
            {"measurand": "identity.number", "at": 1, "type": "uint32", "unit": "1", "rate": "daily"},
        ],
    )
    where = {"device": "/dev/null"} if kind == "serial" else {"host": "127.0.0.1"}
    site = plant(
        [meter("m1", bus="line", serial=serial)], [{"id": "line", "kind": kind, "gateway": "gw", **where}], page
    )
    line, got = MemoryLine({1: FakeMeter()}, tcp=kind != "serial"), Collected()

    async def scenario(clock: LoopClock) -> None:
        rates = Rates(fast_s=10, normal_s=10, slow_s=10)
        await during(300, BusMaster(site.buses["line"], site, rates, clock, got, transport=line).run())

    run(scenario)
    numbers = [r for p in got.polls for r in p.readings() if r.measurand == "identity.number"]
    energies = [r for p in got.polls for r in p.readings() if r.measurand == "energy.active.import"]
    assert [(r.number, bool(r.quality & Quality.SUSPECT)) for r in numbers] == [(0x10002, swapped)]
    assert len(energies) == 30, "every slot"
    marked = [bool(r.quality & Quality.SUSPECT) for r in energies]
    assert marked[-25:] == [swapped] * 25
    assert not got.spans
