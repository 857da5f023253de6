"""How a profile's counters show what a meter has counted: which tally, in what steps, where it begins at zero again."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction

from collector.simulated.noise import chance, seed_of
from collector.simulated.words import bounds, is_float
from meterline.clock import NS
from meterline.plant import Plant
from meterline.profiles import CellPoint, DataType, Dlt645Profile, ModbusProfile, Point, Profile, power_of_ten
from meterline.site import Meter

HOUR_NS = 3600 * NS
_PER_UNIT = Fraction(1, 1_000_000 * HOUR_NS)
"""A tally of 1, in the canonical unit of amounts (kWh, m3, t): a millionth of the unit per hour, for a nanosecond."""
COUNTERS: dict[str, tuple[str, Fraction]] = {
    "energy.active.import": ("import", _PER_UNIT),
    "energy.active.export": ("export", _PER_UNIT),
    "energy.active.total": ("import+export", _PER_UNIT),
    "energy.reactive.import": ("reactive.import", _PER_UNIT),
    "energy.reactive.export": ("reactive.export", _PER_UNIT),
    "energy.apparent.import": ("apparent", _PER_UNIT),
    **{f"energy.active.import.l{n}": (f"import.l{n}", _PER_UNIT) for n in (1, 2, 3)},
    **{f"energy.active.export.l{n}": (f"export.l{n}", _PER_UNIT) for n in (1, 2, 3)},
    **{f"energy.active.import.t{n}": (f"import.4.{n - 1}", _PER_UNIT) for n in (1, 2, 3, 4)},
    "volume": ("import", _PER_UNIT),
    "volume.standard": ("import", _PER_UNIT),
    "volume.reverse": ("export", _PER_UNIT),
    "mass": ("import", _PER_UNIT),
    "heat": ("import", _PER_UNIT * Fraction(36, 10_000)),  # 1 kWh = 0.0036 GJ
    "hours.operating": ("hours", _PER_UNIT),
    "demand.active.import": ("demand", Fraction(1, 1_000_000)),
    "demand.active.import.max": ("demand.max", Fraction(1, 1_000_000)),
}
"""Counter -> the tally it shows, and what a tally of 1 is in its canonical unit."""


def modulus_of(point: Point, kind: DataType) -> int | None:
    """How many steps a counter can show before it begins at zero again; None for a float without a stated limit."""
    if point.wraps_at is not None:
        return round(Fraction(point.wraps_at) / Fraction(10) ** power_of_ten(point.scale))
    return None if is_float(kind) else bounds(kind)[1] + 1


def kinds_of(profile: Profile, point: Point) -> list[DataType]:
    """The data types of a point's cells; an item of DL/T 645 is kept like eight packed digits, others as they need."""
    if isinstance(profile, ModbusProfile) and isinstance(point, CellPoint):
        return [cell.type for cell in profile.cells_of(point) if cell.type]
    return ["bcd32"] if isinstance(profile, Dlt645Profile) else ["uint64"]


def tally_of(measurand: str, index: int, of: int) -> tuple[str, Fraction]:
    """Which tally the `index`-th of `of` cells of a counter shows, and what a tally of 1 is in the canonical unit.

    A counter kept in two or four cells is kept by tariff; for other than the active import everything is counted in
    the first one.
    """
    name, unit = COUNTERS[measurand]
    if of > 1:
        if name == "import" and of in (2, 4):
            return f"import.{of}.{index}", unit
        return (name if index == 0 else ""), unit
    return name, unit


def tallies_wanted(profile: Profile) -> list[str]:
    """The tallies a meter of this profile must keep for its display."""
    wanted = ["import"]
    for point in profile.points:
        if point.enabled and point.measurand in COUNTERS:
            kinds = kinds_of(profile, point)
            mixed = len({is_float(kind) for kind in kinds}) > 1
            for index in range(len(kinds)):
                name, _ = tally_of(point.measurand, index, 1 if mixed else len(kinds))
                wanted += [each for each in name.split("+") if each]
    return list(dict.fromkeys(wanted))


def start_tallies(meter: Meter, plant: Plant, mean: float, seed: int, day: dt.date) -> dict[str, int]:
    """What a meter that has been in service for some months has counted: plausible, never zero, far from its wrap.

    Parameters
    ----------
    mean
        Usual power or flow behind it. [kW, m3/h, t/h]
    """
    profile = plant.profile_of(meter)
    hours = 1500 + 5000 * chance(seed_of(meter.id, seed), 99)
    total = Fraction(mean or 1.0) * round(hours) / _PER_UNIT
    for point in profile.points:
        if point.enabled and point.measurand in COUNTERS:
            name, unit = COUNTERS[point.measurand]
            for kind in kinds_of(profile, point):
                modulus = modulus_of(point, kind)
                if modulus and name.startswith("import"):
                    largest = (
                        modulus * Fraction(10) ** point.exponent * plant.primary_factor(meter, point.measurand, day)
                    )
                    total = min(total, largest / unit * Fraction(3, 5))
    amount = int(total)
    tallies = dict.fromkeys(tallies_wanted(profile), 0)
    for name in tallies:
        tallies[name] = int(amount * Fraction(_START_SHARES.get(name, 0)))
    for group in (
        ("import.l1", "import.l2", "import.l3"),
        *(tuple(f"import.{n}.{i}" for i in range(n)) for n in (2, 4)),
    ):
        if all(name in tallies for name in group):
            tallies[group[-1]] = amount - sum(tallies[name] for name in group[:-1])
    if "hours" in tallies:
        tallies["hours"] = int(hours / _PER_UNIT)
    return tallies


_START_SHARES: dict[str, Fraction | int] = {
    "import": 1, "reactive.import": Fraction(48, 100), "apparent": Fraction(112, 100),
    "import.l1": Fraction(1, 3), "import.l2": Fraction(1, 3), "import.l3": Fraction(1, 3),
    "import.2.0": Fraction(71, 100), "import.2.1": Fraction(29, 100),
    "import.4.0": Fraction(9, 100), "import.4.1": Fraction(22, 100), "import.4.2": Fraction(47, 100),
    "import.4.3": Fraction(22, 100),
}  # fmt: skip
