"""Does it count rightly: the counter's advance against the power, and the display against what was decoded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise

from collector.commission_facts import Check, Facts, off_by, text_of
from meterline.clock import NS
from meterline.measurands import ACCOUNT, MEASURANDS, POWER_LIKE, Kind

STEPS_TOLD = 10
"""A counter must have moved so many steps before its advance says anything."""
ADVANCE_SHARE = 0.1
GJ_PER_KWH = 0.0036


def advance(facts: Facts) -> Iterable[Check]:
    """The counter's advance against the mean of the power over the same time."""
    carrier = facts.plant.carrier_of(facts.meter)
    counter = next((name for name in ACCOUNT[carrier] if facts.watched.course(name)), None)
    gauge = next((name for name in POWER_LIKE[carrier] if facts.watched.course(name)), None)
    if counter is None or gauge is None:
        yield Check("advance", "skipped", "advance.none")
        return
    counts, flows = facts.watched.course(counter), facts.watched.course(gauge)
    hours = (counts[-1][0] - counts[0][0]) / NS / 3600
    mean = _mean(flows)
    if MEASURANDS[gauge].unit == "kW" and MEASURANDS[counter].unit == "GJ":
        mean *= GJ_PER_KWH
    expected, moved = mean * hours, float(counts[-1][1] - counts[0][1])
    step = _step(facts, counter, counts)
    unit = MEASURANDS[counter].unit
    said = {"moved": text_of(moved), "expected": text_of(expected), "unit": unit, "step": text_of(step)}
    if mean < 0 and not moved:
        yield Check("advance", "unsure", "advance.backward", said)
    elif expected < STEPS_TOLD * step:
        minutes = STEPS_TOLD * step / mean * 60 if mean > 0 else 0.0
        say = "advance.too_short" if 0 < minutes < 600 else "advance.no_load"
        if moved > expected + 2 * step + ADVANCE_SHARE * expected:
            yield Check("advance", "failed", "advance.differs", said)
        else:
            yield Check("advance", "unsure", say, said | {"minutes": f"{max(1.0, math.ceil(minutes)):.0f}"})
    elif abs(moved - expected) <= 2 * step + ADVANCE_SHARE * expected:
        yield Check("advance", "passed", "advance.fits", said)
    else:
        off = off_by(moved, expected, facts)
        yield Check("advance", "failed", "advance.off_by" if off else "advance.differs", said | {"off": off})


def display(facts: Facts) -> Iterable[Check]:
    """The display against what was decoded: the only check that proves addresses."""
    if not facts.told.display:
        yield Check("display", "unsure", "display.not_told")
        return
    for measurand, shown in facts.told.display.items():
        course = facts.watched.course(measurand)
        if not course:
            yield Check("display", "failed", "display.no_value", {"shown": str(shown), "what": measurand}, measurand)
            continue
        values = [float(value) for _, value in course]
        place = 10.0 ** int(shown.as_tuple().exponent)
        low, high = min(values), max(values)
        slack = place
        if MEASURANDS[measurand].kind is not Kind.COUNTER:
            slack += 0.05 * max(abs(low), abs(high))  # a gauge moved on while the person read it
        else:
            slack += 4 * (high - low)  # ... and so did the counter
        said = {"shown": str(shown), "decoded": str(course[-1][1]), "what": measurand}
        if low - slack <= float(shown) <= high + slack:
            yield Check("display", "passed", "display.same", said, measurand)
            continue
        off = off_by(values[-1], float(shown), facts, measurand)
        yield Check("display", "failed", "display.off_by" if off else "display.differs", said | {"off": off}, measurand)


def _mean(course: Sequence[tuple[int, Decimal]]) -> float:
    """Mean over time, straight lines between the readings."""
    if len(course) < 2 or course[-1][0] == course[0][0]:
        return float(course[-1][1])
    area = sum(
        (later[0] - earlier[0]) * (float(later[1]) + float(earlier[1])) / 2 for earlier, later in pairwise(course)
    )
    return area / (course[-1][0] - course[0][0])


def _step(facts: Facts, counter: str, course: Sequence[tuple[int, Decimal]]) -> float:
    """The smallest step the counter can make, as sent. [canonical unit]"""
    for poll in facts.watched.polls:
        for column in poll.shape.columns:
            if column.measurand == counter:
                if not column.is_float:
                    return float(10.0**column.exponent)
                return max(abs(float(course[-1][1])) * 2.0**-23, 1e-6)
    return 1e-6
