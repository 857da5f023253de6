"""What a meter usually shows: ranges wide enough for any plant, narrow enough that a wrong byte order falls out.

They decide nothing about a reading (that is `collector.plausibility`, which knows the connection); they tell a person,
or a search for the right page, which of many interpretations of the same bytes can be meant.
"""

from __future__ import annotations

from meterline.measurands import MEASURANDS, Kind

LEAST_NONZERO = 1e-6
"""A gauge below this that is not zero is no measurement but the bits of another type."""

_BY_NAME: dict[str, tuple[float, float]] = {
    "frequency": (45.0, 65.0),
    "current.n": (-20_000.0, 20_000.0),
    "temperature.meter": (-40.0, 100.0),
    "temperature.medium": (-60.0, 600.0),
    "temperature.supply": (-30.0, 250.0),
    "temperature.return": (-30.0, 250.0),
    "pressure.medium": (-0.1, 40.0),
    "flow.velocity": (-60.0, 150.0),
    "hours.operating": (0.0, 400_000.0),
}
_BY_UNIT: dict[str, tuple[float, float]] = {
    # 20 V: a measuring transformer's 57.7 V with a missing phase's rest; 40 kV: primary values of a 35 kV line.
    "V": (20.0, 40_500.0),
    "A": (-20_000.0, 20_000.0),
    "kW": (-500_000.0, 500_000.0),
    "kvar": (-500_000.0, 500_000.0),
    "kVA": (0.0, 500_000.0),
    "%": (0.0, 400.0),
    "m3/h": (-200_000.0, 200_000.0),
    "t/h": (-20_000.0, 20_000.0),
    "degC": (-60.0, 600.0),
    "MPa": (-0.1, 40.0),
}
MOST_COUNTED = 1e10
"""No counter of a plant has come further. [canonical unit]"""


def usual_range(measurand: str) -> tuple[float, float]:
    """Lowest and highest value of a measurand in its canonical unit; a dead phase's zero is not in it."""
    row = MEASURANDS[measurand]
    if measurand in _BY_NAME:
        return _BY_NAME[measurand]
    if measurand.startswith("power_factor"):
        return (-1.005, 1.005)
    if row.kind is Kind.COUNTER:
        return (0.0, MOST_COUNTED)
    if row.kind is Kind.STATE:
        return (0.0, 2.0**64)
    return _BY_UNIT.get(row.unit, (-1e9, 1e9))


def is_usual(measurand: str, value: float) -> bool:
    """Whether a value can be meant; zero always can (a dead phase, a load that stands still)."""
    if value == 0:
        return measurand != "frequency"
    low, high = usual_range(measurand)
    if not low <= value <= high:
        return False
    return MEASURANDS[measurand].kind is not Kind.GAUGE or abs(value) >= LEAST_NONZERO


_COMMON: dict[str, tuple[tuple[float, float], ...]] = {
    # 220..240 V networks and 100 V measuring transformers, phase and line values
    "phase": ((185.0, 260.0), (52.0, 64.0), (104.0, 132.0)),
    "line": ((340.0, 440.0), (92.0, 116.0), (196.0, 216.0), (640.0, 730.0)),
    "frequency": ((48.5, 51.5), (58.5, 61.5)),
}


def is_common(measurand: str, value: float) -> bool:
    """Whether a value is one that most plants show: what a byte order or a scale can be told by."""
    if measurand == "frequency":
        spans = _COMMON["frequency"]
    elif measurand.startswith("voltage."):
        spans = _COMMON["phase" if measurand.endswith("n") or measurand == "voltage.ln.mean" else "line"]
    elif measurand.startswith("power_factor"):
        return 0.2 <= abs(value) <= 1.005
    else:
        return False
    return any(low <= value <= high for low, high in spans)
