"""Units of measure, and the one conversion into the unit a measurand is kept in.

All conversions we allow are powers of ten or exact ratios, so a counter that arrives as an integer stays one: most
often only its decimal exponent moves. A heat meter that says with each number in which unit it is (kWh now, MWh after
its next parametrisation) is the one case of a ratio: a kWh is exactly 36 steps of 10**-4 GJ (`whole_steps`).
"""

from __future__ import annotations

from types import MappingProxyType

CANONICAL: MappingProxyType[str, str] = MappingProxyType(
    {
        # unit a profile may name: the canonical unit it is kept in
        "W": "kW", "kW": "kW", "MW": "kW",
        "var": "kvar", "kvar": "kvar", "Mvar": "kvar",
        "VA": "kVA", "kVA": "kVA", "MVA": "kVA",
        "Wh": "kWh", "kWh": "kWh", "MWh": "kWh",
        "varh": "kvarh", "kvarh": "kvarh", "Mvarh": "kvarh",
        "VAh": "kVAh", "kVAh": "kVAh",
        "V": "V", "mV": "V", "kV": "V",
        "A": "A", "mA": "A",
        "Hz": "Hz",
        "%": "%",
        "deg": "deg",
        "degC": "degC",
        "m3": "m3", "L": "m3",
        "m3/h": "m3/h", "L/h": "m3/h",
        "GJ": "GJ", "MJ": "GJ",
        "t": "t", "kg": "t",
        "t/h": "t/h", "kg/h": "t/h",
        "MPa": "MPa", "kPa": "MPa", "Pa": "MPa", "bar": "MPa",
        "s": "s", "h": "h", "1": "1",
    }
)  # fmt: skip

EXPONENT: MappingProxyType[str, int] = MappingProxyType(
    {
        # value in the canonical unit = value in this unit * 10**exponent
        "W": -3, "var": -3, "VA": -3, "Wh": -3, "varh": -3, "VAh": -3,
        "MW": 3, "Mvar": 3, "MVA": 3, "MWh": 3, "Mvarh": 3,
        "mV": -3, "kV": 3, "mA": -3,
        "L": -3, "L/h": -3, "MJ": -3, "kg": -3, "kg/h": -3,
        "kPa": -3, "Pa": -6, "bar": -1,
    }
)  # fmt: skip

DISPLAY: MappingProxyType[str, str] = MappingProxyType({"m3": "m³", "m3/h": "m³/h", "degC": "°C", "deg": "°", "1": ""})
"""How a unit is printed for people where that differs from its name."""


def shift_to_canonical(unit: str) -> int:
    """Decimal exponent that turns a value in `unit` into its canonical unit.

    Raises
    ------
    KeyError
        No such unit in the list; a profile that names it is refused.
    """
    if unit not in CANONICAL:
        raise KeyError(unit)
    return EXPONENT.get(unit, 0)


def whole_steps(number: int, factor: int, power: int) -> int | None:
    """`number` * `factor` * 10**`power` where that is a whole number; None where a digit would be lost."""
    if power >= 0:
        return number * factor * int(10**power)
    whole, rest = divmod(number * factor, int(10**-power))
    return None if rest else whole
