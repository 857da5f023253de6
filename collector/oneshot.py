"""Read one meter once, now: what an electrician asks for beside the cabinet."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from collector.bus import Line, Outcome
from collector.dialects import AnyDialect, dialect_of, put
from collector.requests import Piece, Plan, requests_by_column, reshaped
from collector.transports import Transport
from collector.turns import Tap
from meterline.clock import Clock
from meterline.errors import BusError, ConfigError, Garbled, LineDown, Problem, Refused, Silent
from meterline.profiles import Profile
from meterline.readings import ClockState, Exchange, Number, Poll, Quality
from meterline.site import Bus, Meter

TRIES = 2
PROBES = 3
"""Small questions to a meter that may still owe answers, before its refusals are believed to be meant for them."""


async def read_meter(
    bus: Bus,
    meter: Meter,
    profile: Profile,
    clock: Clock,
    tap: Tap | None = None,
    *,
    transport: Transport | None = None,
) -> list[Poll]:
    """Ask a meter for all enabled points of its page.

    What it refuses comes back as MISSING, so that a page that fits only in part shows what fits.

    Returns
    -------
    list of Poll
        One poll; its slot is the moment the reading began, not one of the grid.

    Raises
    ------
    ConfigError
        The page has no enabled point; nothing was opened.
    LineDown
        The line cannot be opened or broke; the message says what to do.
    Silent, Garbled, Refused
        Nothing usable came; the message says what to check on site.
    """
    dialect = dialect_of(profile, meter.address)
    if not dialect.plan().blocks:
        raise ConfigError(
            [Problem(profile.profile, "points", "none is enabled", "compare them with the display, then enable them")]
        )
    line = Line(bus, clock, transport)
    try:
        return [await read_on(line, meter, dialect, clock, tap)]
    finally:
        line.close()


async def read_on(
    line: Line,
    meter: Meter,
    dialect: AnyDialect,
    clock: Clock,
    tap: Tap | None = None,
    unanswered: set[Hashable] | None = None,
) -> Poll:
    """Like `read_meter`, on a line whose owner stands aside meanwhile.

    Parameters
    ----------
    unanswered
        Likenesses of questions this meter may still answer late; brought up to date.
    """
    plan = dialect.plan()
    reading = _Reading(dialect, plan, clock.now_ns() // 1_000_000 * 1_000_000, unanswered)
    todo = list(plan.blocks)
    last: BusError | None = None
    while todo:
        block = todo.pop(0)
        error = await _ask(line, meter, block, reading, tap)
        if error is None:
            continue
        last = error
        if isinstance(error, LineDown) or (isinstance(error, Silent) and not reading.came):
            break
        parting = dialect.parts(block) if isinstance(error, Refused) and dialect.lacks(error.code) else None
        if parting is not None:
            todo[:0] = parting[0]
        else:
            reading.close(block, clock.now_ns())
    if not reading.came:
        assert last is not None
        raise _with_hint(last, dialect) if isinstance(last, Refused) else last
    for block in todo:
        reading.close(block, clock.now_ns())
    return reading.poll(meter.id, ClockState.SIMULATED if clock.simulated else ClockState.SYNCED)


class _Reading:
    """The numbers as they come in."""

    def __init__(
        self, dialect: AnyDialect, plan: Plan[Any, Any], slot_ns: int, unanswered: set[Hashable] | None = None
    ) -> None:
        self.dialect, self.plan, self.slot_ns = dialect, plan, slot_ns
        self.numbers: list[Number | None] = [None] * len(plan.points)
        self.qualities: list[int] = [int(Quality.MISSING)] * len(plan.points)
        self.done: list[Piece] = []
        self.delays_ms: list[int] = []
        self.exchanges: list[Exchange] = []
        self.unanswered: set[Hashable] = set() if unanswered is None else unanswered
        self.came = False

    def take(self, block: Piece, payload: bytes, answered_ns: int) -> None:
        for item in block.items:
            self.qualities[item.column] = int(Quality.GOOD)
        self.dialect.decoder(block, self.plan.points).into(payload, self.numbers, self.qualities)
        self.came = True
        self.close(block, answered_ns)

    def close(self, block: Piece, at_ns: int) -> None:
        self.done.append(block)
        self.delays_ms.append((at_ns - self.slot_ns) // 1_000_000)

    def poll(self, meter: str, clock: ClockState) -> Poll:
        shape = reshaped(self.plan.shape, requests_by_column(self.done))
        return Poll(
            meter,
            shape,
            self.slot_ns,
            tuple(self.delays_ms[: shape.requests]),
            clock,
            tuple(self.numbers),
            tuple(self.qualities) if any(self.qualities) else (),
            exchanges=tuple(self.exchanges),
        )


async def _ask(line: Line, meter: Meter, block: Piece, reading: _Reading, tap: Tap | None) -> BusError | None:
    """Ask for one block, twice if need be; None once it is in."""
    wanted = reading.dialect.request(block)
    error: BusError | None = None
    for _ in range(TRIES):
        error = await _settle(line, meter, reading, tap) if reading.unanswered else None
        if error is None:
            outcome = await _put(line, meter, wanted, reading, tap)
            error = outcome.error
            if error is None:
                answered_ns = outcome.exchange.answered_ns
                assert answered_ns is not None
                reading.take(block, outcome.payload, answered_ns)
                return None
        if isinstance(error, LineDown):
            break
    return error


async def _settle(line: Line, meter: Meter, reading: _Reading, tap: Tap | None) -> BusError | None:
    """Ask small things until nothing is owed any more; see `collector.poller`."""
    for _ in range(PROBES):
        request = reading.dialect.probe(reading.plan, reading.unanswered)
        error = (await _put(line, meter, request, reading, tap)).error
        if error is None:
            reading.unanswered.clear()
        if not isinstance(error, Refused):
            return error
        reading.unanswered.add(reading.dialect.likeness(request))  # it may be a late refusal of something else
    line.rest()
    reading.unanswered.clear()
    return None


async def _put(line: Line, meter: Meter, request: Hashable, reading: _Reading, tap: Tap | None) -> Outcome:
    outcome = await put(line, reading.dialect, request, meter)
    reading.exchanges.append(outcome.exchange)
    if tap is not None:
        tap(meter.id, outcome.exchange)
    if line.frames_by_silence and isinstance(outcome.error, Silent | Garbled):
        reading.unanswered.add(reading.dialect.likeness(request))
    return outcome


def _with_hint(error: Refused, dialect: AnyDialect) -> Refused:
    if dialect.lacks(error.code):
        hint = "it answers, but not to this profile: check the meter's type, and table and addresses"
    elif dialect.unreached(error.code):
        hint = "the gateway is there, the meter behind it is not: check its address and wires"
    else:
        hint = "wait and read again"
    return Refused(error.code, dialect.meaning(error.code), hint)
