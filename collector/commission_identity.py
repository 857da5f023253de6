"""Is it the meter it is taken for: does it answer, is its number the one on the plate, does its clock run right?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from collector.commission_facts import Check, Facts, State, Watched
from meterline.clock import NS

CLOCK_GOOD_S, CLOCK_WRONG_S = 60, 300


def answers(watched: Watched) -> Check:
    every = watched.exchanges
    # A refusal is an answer: the meter has not got what was asked for.
    heard = [exchange for exchange in every if exchange.answered_ns is not None]
    times = sorted((exchange.answered_ns - exchange.sent_ns) / NS * 1000 for exchange in heard if exchange.answered_ns)
    values = {"good": str(len(heard)), "all": str(len(every)), "ms": f"{times[len(times) // 2]:.0f}" if times else "-"}
    state: State = "passed" if len(heard) == len(every) else "unsure" if len(heard) >= 0.9 * len(every) else "failed"
    return Check("answers", state, "answers", values)


def number(facts: Facts) -> Iterable[Check]:
    shown = facts.values.get("identity.number")
    expected = facts.told.number or facts.meter.serial
    if shown is None:
        yield Check("number", "skipped", "number.none")
        return
    text = f"{shown:012.0f}"
    digits = "".join(sign for sign in expected if sign.isdigit()).lstrip("0")
    if not digits:
        yield Check("number", "unsure", "number.not_told", {"shown": text})
        return
    same = text.lstrip("0").endswith(digits) or digits.endswith(text.lstrip("0"))
    yield Check("number", "passed" if same else "failed", "number.is" if same else "number.other",
                {"shown": text, "expected": expected})  # fmt: skip


def clock_of(facts: Facts) -> Iterable[Check]:
    course = facts.watched.course("clock.time")
    date = facts.values.get("clock.date")
    if not course or date is None:
        yield Check("clock", "skipped", "clock.none")
        return
    read_ns, time = course[-1]
    zone = facts.plant.site.site.zone
    try:
        shown = dt.datetime.strptime(f"{date:08.0f}{int(time):06d}", "%Y%m%d%H%M%S").replace(tzinfo=zone)
    except ValueError:
        yield Check("clock", "failed", "clock.no_time", {"date": f"{date:.0f}", "time": str(time)})
        return
    off = (shown - dt.datetime.fromtimestamp(read_ns / NS, zone)).total_seconds()
    state: State = "passed" if abs(off) <= CLOCK_GOOD_S else "unsure" if abs(off) <= CLOCK_WRONG_S else "failed"
    say = "clock.good" if state == "passed" else "clock.off"
    yield Check("clock", state, say, {"off": f"{off:+.0f}", "shown": f"{shown:%Y-%m-%d %H:%M:%S}"})
