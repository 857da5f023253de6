"""Group A, where it touches delivery: meters and lines that misbehave while everything behind them is watched."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.faults.chain import Chain
from tests.faults.plant_files import METERS, Wish
from tests.faults.play import Play, plays, stage

_PLANTED = (
    ("silent", "m-press"),
    ("late", "m-line"),
    ("noise", "m-line"),
    ("exception", "m-press"),
    ("disconnect", "m-main"),
)
_FIRST_MIN, _EVERY_MIN, _LASTS_MIN = 5, 7, 4
LINES = stage(
    "meters",
    Wish(
        faults=tuple(
            f"kind: {kind}, meter: {meter}, after_min: {_FIRST_MIN + _EVERY_MIN * i}, lasts_min: {_LASTS_MIN}"
            for i, (kind, meter) in enumerate(_PLANTED)
        )
    ),
)


def _planted(kind: str, meter: str, others: tuple[str, ...]) -> Callable[[Chain, Play], None]:
    def script(chain: Chain, play: Play) -> None:
        faults = json.loads((chain.state / "factory.json").read_text(encoding="utf-8"))["faults"]
        start_ns, end_ns = next((f["start_ns"], f["end_ns"]) for f in faults if f["kind"] == kind)
        play.expect(chain.clock.now_ns() < end_ns, f"{kind} was over before it was looked at")
        chain.doubts.append((start_ns - 2 * chain.period_ns, end_ns + 3 * chain.period_ns, kind))
        looks = fresh = 0
        while chain.clock.now_ns() < end_ns:
            chain.pass_time(0.2)
            if chain.clock.now_ns() > start_ns + chain.period_ns:
                looks, fresh = looks + 1, fresh + chain.fresh(others)
        play.notes.append(f"{', '.join(others)} fresh in {fresh} of {looks} looks while {meter} was {kind}")
        play.expect(fresh > 0.7 * looks, "a neighbour suffered")

    script.__doc__ = f"{meter}: {kind}, for some minutes of the plant."
    return script


plays("A01", on=LINES)(_planted("silent", "m-press", ("m-main", "m-line")))
plays("A02", on=LINES)(_planted("late", "m-line", ("m-main", "m-press")))
plays("A04", on=LINES)(_planted("noise", "m-line", ("m-main", "m-press")))
plays("A08", on=LINES)(_planted("exception", "m-press", ("m-main", "m-line")))
plays("A11", on=LINES)(_planted("disconnect", "m-main", ("m-line",)))


@plays("A10", on=LINES)
def half_open(chain: Chain, play: Play) -> None:
    """The meters' machine freezes with its connections open: nothing answers, nothing is closed."""
    _without_meters(chain, play, chain.meters.pause, chain.meters.resume)


@plays("A14", on=LINES)
def line_gone_and_back(chain: Chain, play: Play) -> None:
    """The serial device disappears and comes back as another one of the same name; the TCP port is closed meanwhile."""

    def back() -> None:
        chain.meters.start()

    def away() -> None:
        chain.meters.kill()
        # the kernel gives the number of a closed terminal to the next one who asks, which may be another plant's meter
        (chain.folder / "line.tty").unlink()

    _without_meters(chain, play, away, back)


def _without_meters(chain: Chain, play: Play, away: Callable[[], None], back: Callable[[], None]) -> None:
    gone_ns = chain.clock.now_ns()
    away()
    chain.pass_time(play.count(5, 60))
    back()
    back_ns = chain.clock.now_ns()
    chain.excuses.append((gone_ns - chain.lag_ns, gone_ns + chain.period_ns, "meters went away"))
    chain.excuses.append((back_ns - chain.period_ns, back_ns + 2 * chain.period_ns, "meters came back"))
    chain.doubts.append((gone_ns - chain.lag_ns, back_ns + 3 * chain.period_ns, "meters away"))
    play.meters = METERS
