"""The closed list of what can be measured: name, unit, kind, OBIS code, DL/T 645 identifier, sign rule.

A name is ``quantity.aspect.place``. Import is positive, always; a current transformer turned round is a setting of
its *meter*, never a sign convention here. The OBIS codes are those of IEC 62056-6-1, the DL/T 645 identifiers those of
DL/T 645-2007 annex A (DI3 DI2 DI1 DI0). A code is left out where we have no source for it, never guessed.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """How a measurand behaves in time, and so what may be done with it."""

    COUNTER = "counter"
    """Cumulative index on the display; its differences are amounts."""
    GAUGE = "gauge"
    """Momentary value; it has a mean, a minimum and a maximum."""
    DEMAND = "demand"
    """Mean over the meter's own demand period; only its maximum is of interest."""
    STATE = "state"
    """A code or a word of bits; never averaged."""


class Carrier(StrEnum):
    """What a meter meters (能源品种). A plant's accounts are kept per carrier."""

    ELECTRICITY = "electricity"
    NATURAL_GAS = "natural_gas"
    WATER = "water"
    STEAM = "steam"
    HEAT = "heat"
    COMPRESSED_AIR = "compressed_air"


@dataclass(frozen=True, slots=True)
class Measurand:
    """One row of the list.

    Attributes
    ----------
    ratio
        Which transformer ratios turn the displayed value into the primary one: any of ``c`` (current) and ``v``
        (voltage); empty where no ratio applies.
    signed
        Whether a negative value is physically possible (power flowing out, capacitive reactive power).
    """

    name: str
    unit: str
    kind: Kind
    en: str
    zh: str
    obis: str = ""
    dlt645: str = ""
    ratio: str = ""
    signed: bool = False


_EVENTS = (
    # what a meter counts of what was done to it: name, English, Chinese, DL/T 645 identifier of the count
    ("cover_open", "cover opened", "开表盖", "03300D00"),
    ("terminal_cover_open", "terminal cover opened", "开端钮盒", "03300E00"),
    ("programming", "programming", "编程", "03300000"),
    ("meter_clear", "meter cleared", "电表清零", "03300100"),
    ("demand_clear", "demand cleared", "需量清零", "03300200"),
    ("event_clear", "events cleared", "事件清零", "03300300"),
    ("clock_set", "clock set", "校时", "03300400"),
    ("power_down", "power down", "掉电", "03110000"),
    *((f"voltage_loss.l{n}", f"voltage loss L{n}", f"{p}相失压", "") for n, p in enumerate("ABC", 1)),
    *((f"phase_break.l{n}", f"phase break L{n}", f"{p}相断相", "") for n, p in enumerate("ABC", 1)),
    *((f"current_loss.l{n}", f"current loss L{n}", f"{p}相失流", "") for n, p in enumerate("ABC", 1)),
)


def _rows() -> list[Measurand]:
    gauge, counter, demand, state = Kind.GAUGE, Kind.COUNTER, Kind.DEMAND, Kind.STATE
    rows: list[Measurand] = [
        Measurand("energy.active.import", "kWh", counter, "active energy, import", "正向有功电能", "1-0:1.8.0", "00010000", "cv"),
        Measurand("energy.active.export", "kWh", counter, "active energy, export", "反向有功电能", "1-0:2.8.0", "00020000", "cv"),
        Measurand("energy.active.total", "kWh", counter, "active energy, import + export", "总有功电能", "1-0:15.8.0", "", "cv"),
        Measurand("energy.reactive.import", "kvarh", counter, "reactive energy, import", "正向无功电能", "1-0:3.8.0", "", "cv"),
        Measurand("energy.reactive.export", "kvarh", counter, "reactive energy, export", "反向无功电能", "1-0:4.8.0", "", "cv"),
        Measurand("energy.apparent.import", "kVAh", counter, "apparent energy, import", "正向视在电能", "1-0:9.8.0", "00090000", "cv"),
        Measurand("power.active.total", "kW", gauge, "active power", "有功功率", "1-0:16.7.0", "02030000", "cv", True),
        Measurand("power.reactive.total", "kvar", gauge, "reactive power", "无功功率", "", "02040000", "cv", True),
        Measurand("power.apparent.total", "kVA", gauge, "apparent power", "视在功率", "1-0:9.7.0", "02050000", "cv"),
        Measurand("power_factor.total", "1", gauge, "power factor", "功率因数", "1-0:13.7.0", "02060000", "", True),
        Measurand("demand.active.import", "kW", demand, "active demand, import", "正向有功需量", "1-0:1.4.0", "02800004", "cv"),
        Measurand("demand.active.import.max", "kW", demand, "maximum active demand", "正向有功最大需量", "1-0:1.6.0", "01010000", "cv"),
        Measurand("frequency", "Hz", gauge, "frequency", "频率", "1-0:14.7.0", "02800002"),
        Measurand("voltage.ln.mean", "V", gauge, "mean phase voltage", "相电压平均值", "", "", "v"),
        Measurand("voltage.ll.mean", "V", gauge, "mean line voltage", "线电压平均值", "", "", "v"),
        Measurand("current.mean", "A", gauge, "mean current", "电流平均值", "", "", "c"),
        Measurand("current.n", "A", gauge, "neutral current", "零线电流", "1-0:91.7.0", "02800001", "c"),
        Measurand("temperature.meter", "degC", gauge, "temperature inside the meter", "表内温度", "", "02800007", "", True),
        Measurand("status.meter", "1", state, "status word of the meter", "电表运行状态字", "", "04000501"),
        Measurand("status.direction", "1", state, "status word: power directions", "运行状态字：功率方向", "", "04000502"),
        Measurand("status.supply", "1", state, "status word: supply and relay", "运行状态字：供电与继电器", "", "04000503"),
        Measurand("status.grid", "1", state, "status word: all phases", "运行状态字：合相故障", "", "04000507"),
        Measurand("clock.date", "1", state, "date of the meter's clock, digits YYYYMMDD", "表内日期 YYYYMMDD", "", "04000101"),
        Measurand("clock.time", "1", state, "time of the meter's clock, digits hhmmss", "表内时间 hhmmss", "", "04000102"),
        Measurand("identity.number", "1", state, "number of the meter, digits", "表号", "", "04000402"),
    ]  # fmt: skip
    for name, en, zh, di in _EVENTS:
        rows.append(Measurand(f"events.{name}", "1", state, f"count: {en}", f"{zh}次数", "", di))
        last = f"begin of the last {en}, digits YYYYMMDDhhmmss"
        rows.append(Measurand(f"events.{name}.last", "1", state, last, f"上一次{zh}时刻"))
    for n, phase in enumerate(("l1", "l2", "l3"), start=1):
        letter = "ABC"[n - 1]
        rows += [
            Measurand(f"status.{phase}", "1", state, f"status word: phase L{n}", f"运行状态字：{letter}相故障", "", f"0400050{n + 3}"),
            Measurand(f"voltage.{phase}n", "V", gauge, f"voltage L{n}-N", f"{letter}相电压", f"1-0:{32 + 20 * (n - 1)}.7.0", f"02010{n}00", "v"),
            Measurand(f"current.{phase}", "A", gauge, f"current L{n}", f"{letter}相电流", f"1-0:{31 + 20 * (n - 1)}.7.0", f"02020{n}00", "c", True),
            Measurand(f"power.active.{phase}", "kW", gauge, f"active power L{n}", f"{letter}相有功功率", f"1-0:{36 + 20 * (n - 1)}.7.0", f"02030{n}00", "cv", True),
            Measurand(f"power.reactive.{phase}", "kvar", gauge, f"reactive power L{n}", f"{letter}相无功功率", "", f"02040{n}00", "cv", True),
            Measurand(f"power.apparent.{phase}", "kVA", gauge, f"apparent power L{n}", f"{letter}相视在功率", f"1-0:{29 + 20 * (n - 1)}.7.0", f"02050{n}00", "cv"),
            Measurand(f"power_factor.{phase}", "1", gauge, f"power factor L{n}", f"{letter}相功率因数", f"1-0:{33 + 20 * (n - 1)}.7.0", f"02060{n}00", "", True),
            Measurand(f"energy.active.import.{phase}", "kWh", counter, f"active energy L{n}, import", f"{letter}相正向有功电能", f"1-0:{21 + 20 * (n - 1)}.8.0", "", "cv"),
            Measurand(f"energy.active.export.{phase}", "kWh", counter, f"active energy L{n}, export", f"{letter}相反向有功电能", f"1-0:{22 + 20 * (n - 1)}.8.0", "", "cv"),
            Measurand(f"thd.voltage.{phase}", "%", gauge, f"voltage distortion L{n}", f"{letter}相电压谐波畸变率", "", f"02080{n}00"),
            Measurand(f"thd.current.{phase}", "%", gauge, f"current distortion L{n}", f"{letter}相电流谐波畸变率", "", f"02090{n}00"),
        ]  # fmt: skip
    for pair, name in (("l12", "AB"), ("l23", "BC"), ("l31", "CA")):
        rows.append(Measurand(f"voltage.{pair}", "V", gauge, f"voltage {pair.upper()}", f"{name}线电压", ratio="v"))
    for tariff, zh in ((1, "尖"), (2, "峰"), (3, "平"), (4, "谷")):
        rows.append(
            Measurand(
                f"energy.active.import.t{tariff}", "kWh", counter, f"active energy, import, tariff {tariff}",
                f"正向有功电能（{zh}）", f"1-0:1.8.{tariff}", f"00010{tariff}00", "cv",
            )
        )  # fmt: skip
    rows += [
        Measurand("volume", "m3", counter, "volume", "累计体积", "8-0:1.0.0"),
        Measurand("volume.standard", "m3", counter, "volume at standard conditions", "标况累计体积"),
        Measurand("volume.reverse", "m3", counter, "volume, reverse", "反向累计体积"),
        Measurand("flow.volume", "m3/h", gauge, "volume flow", "瞬时流量", signed=True),
        Measurand("flow.volume.standard", "m3/h", gauge, "volume flow at standard conditions", "标况瞬时流量"),
        Measurand("mass", "t", counter, "mass", "累计质量"),
        Measurand("flow.mass", "t/h", gauge, "mass flow", "瞬时质量流量", signed=True),
        Measurand("heat", "GJ", counter, "heat energy", "累计热量", "6-0:1.0.0"),
        Measurand("power.heat", "kW", gauge, "heat power", "热功率", "6-0:8.0.0", signed=True),
        Measurand("temperature.supply", "degC", gauge, "supply temperature", "供水温度", signed=True),
        Measurand("temperature.return", "degC", gauge, "return temperature", "回水温度", signed=True),
        Measurand("temperature.medium", "degC", gauge, "temperature of the medium", "介质温度", signed=True),
        Measurand("pressure.medium", "MPa", gauge, "pressure of the medium", "介质压力", signed=True),
        Measurand("flow.velocity", "1", gauge, "flow velocity [m/s]", "流速", signed=True),
        Measurand("hours.operating", "h", counter, "operating hours", "运行小时"),
    ]  # fmt: skip
    return rows


MEASURANDS: MappingProxyType[str, Measurand] = MappingProxyType({row.name: row for row in _rows()})
"""Name -> row. Closed: a profile that names anything else is refused with the nearest name."""

ACCOUNT: MappingProxyType[Carrier, tuple[str, ...]] = MappingProxyType(
    {
        # carrier -> the counter its account is kept with, best first
        Carrier.ELECTRICITY: ("energy.active.import", "energy.active.total"),
        Carrier.NATURAL_GAS: ("volume.standard", "volume"),
        Carrier.WATER: ("volume",),
        Carrier.STEAM: ("mass", "heat"),
        Carrier.HEAT: ("heat",),
        Carrier.COMPRESSED_AIR: ("volume.standard", "volume"),
    }
)
POWER_LIKE: MappingProxyType[Carrier, tuple[str, ...]] = MappingProxyType(
    {
        # carrier -> the gauge that shows the momentary use
        Carrier.ELECTRICITY: ("power.active.total",),
        Carrier.NATURAL_GAS: ("flow.volume.standard", "flow.volume"),
        Carrier.WATER: ("flow.volume",),
        Carrier.STEAM: ("flow.mass", "power.heat"),
        Carrier.HEAT: ("power.heat",),
        Carrier.COMPRESSED_AIR: ("flow.volume.standard", "flow.volume"),
    }
)


def nearest(name: str) -> str | None:
    """The listed name most like `name`, for a message to whoever mistyped it."""
    found = difflib.get_close_matches(name, MEASURANDS, n=1, cutoff=0.5)
    return found[0] if found else None
