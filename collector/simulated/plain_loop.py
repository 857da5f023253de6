"""What one would write with pymodbus in an afternoon: the yardstick for the collector's cost.

One client a meter, a task each, one read after the other each second; every answer is decoded into the same polls (same
columns, scaled integers as they came, 32-bit floats as their shortest decimals, a doubt where a float is no number). No
schedule, no plausibility, no time-out rules, no evidence, no journal.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pymodbus.client import AsyncModbusTcpClient

from collector.decode import FORMAT
from collector.float32 import shortest_float32
from collector.plan import Block
from collector.requests import Plan
from meterline.clock import NS
from meterline.profiles import CellPoint, ModbusProfile, Table
from meterline.readings import ClockState, Number, Poll, Quality


@dataclass(frozen=True, slots=True)
class _Value:
    column: int
    at: int
    words: int
    layout: str


async def poll_plainly(
    port: int, meters: Sequence[str], plan: Plan[Block, CellPoint], seconds: float, take: Callable[[Poll], None]
) -> float:
    """Poll meters on loopback each second for a while.

    Returns
    -------
    float
        Processor time of the polling alone, without connecting. [s]
    """
    clients = [AsyncModbusTcpClient("127.0.0.1", port=port, timeout=5, retries=0) for _ in meters]
    await asyncio.gather(*(client.connect() for client in clients))
    profile = plan.profile
    assert isinstance(profile, ModbusProfile)
    layouts = [[_value(profile, plan, block, item.column) for item in block.items] for block in plan.blocks]
    first = (time.time_ns() // NS + 1) * NS
    await asyncio.sleep((first - time.time_ns()) / NS)
    begun = time.process_time()
    await asyncio.gather(
        *(
            _one(client, meter, plan, layouts, first, round(seconds), take)
            for client, meter in zip(clients, meters, strict=True)
        )
    )
    used = time.process_time() - begun
    for client in clients:
        client.close()
    return used


def _value(profile: ModbusProfile, plan: Plan[Block, CellPoint], block: Block, column: int) -> _Value:
    (cell,) = profile.cells_of(plan.points[column])
    assert cell.type is not None
    assert cell.order == "ABCD", "the yardstick reads pages of plain words only"
    size = struct.calcsize(">" + FORMAT[cell.type]) // 2
    return _Value(column, cell.at - block.address, size, ">" + FORMAT[cell.type])


async def _one(
    client: AsyncModbusTcpClient,
    meter: str,
    plan: Plan[Block, CellPoint],
    layouts: list[list[_Value]],
    first_ns: int,
    rounds: int,
    take: Callable[[Poll], None],
) -> None:
    for turn in range(rounds):
        slot_ns = first_ns + turn * NS
        if (wait := slot_ns - time.time_ns()) > 0:
            await asyncio.sleep(wait / NS)
        numbers: list[Number | None] = [None] * len(plan.points)
        qualities = [0] * len(plan.points)
        doubtful = False
        delays = []
        for block, values in zip(plan.blocks, layouts, strict=True):
            read = client.read_input_registers if block.table is Table.INPUT else client.read_holding_registers
            answer = await read(block.address, count=block.count, device_id=1)
            delays.append((time.time_ns() - slot_ns) // 1_000_000)
            words = answer.registers
            for value in values:
                raw = struct.pack(f">{value.words}H", *words[value.at : value.at + value.words])
                number: Number = struct.unpack(value.layout, raw)[0]
                if isinstance(number, float):
                    if math.isfinite(number):
                        number = shortest_float32(number)
                    else:
                        qualities[value.column] = int(Quality.INVALID)
                        doubtful = True
                        continue
                numbers[value.column] = number
        take(
            Poll(
                meter,
                plan.shape,
                slot_ns,
                tuple(delays),
                ClockState.SYNCED,
                tuple(numbers),
                tuple(qualities) if doubtful else (),
            )
        )
