"""What a finding says to people: the same words in a mail, on a page and in JSON, in the plant's two languages."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from analytics.findings import Severity
from headend.causes import Scope
from headend.entries import Condition, Entry, State
from meterline.clock import NS
from meterline.measurands import ACCOUNT, MEASURANDS, POWER_LIKE
from meterline.plant import Bus, Plant
from meterline.profiles import Title
from meterline.texts import LANGUAGES, Language, Texts

TEXTS = Texts(
    {
        "info": ("note", "提示"),
        "warning": ("warning", "警告"),
        "alarm": ("alarm", "报警"),
        "open": ("open", "未确认"),
        "acknowledged": ("acknowledged", "已确认"),
        "returned": ("over, not acknowledged", "已恢复，未确认"),
        "closed": ("closed", "已关闭"),
        "shelved": ("shelved", "已搁置"),
        "pending": ("pending", "待定"),
        "condition.active": ("lasts", "持续中"),
        "condition.unknown": ("unknown: the meter is silent", "未知：电表无应答"),
        "condition.over": ("is over", "已结束"),
        "condition.pending": ("pending", "待定"),
        "bus.title": ("Line is silent: no meter on it answers", "总线无应答：其上所有电表均无数据"),
        "bus.meaning": (
            (
                "None of the {count} meters on this line answers. One cause is likely: the cable, the converter or "
                "serial server, its supply. Energy is still counted inside the meters."
            ),
            "该总线上 {count} 台电表均无应答，可能为同一原因：电缆、转换器或串口服务器及其电源。电能仍在表内累计。",
        ),
        "gateway.title": ("Gateway is silent: no meter behind it delivers", "网关无数据：其下所有电表均无数据"),
        "gateway.meaning": (
            (
                "Nothing arrives from any of the {count} meters behind this gateway. While it has power it keeps "
                "measuring and delivers everything when the connection is back."
            ),
            "该网关下 {count} 台电表均无数据到达。只要网关有电就会继续采集，连接恢复后补传全部数据。",
        ),
        "plant.title": ("No data from the plant", "全厂无数据"),
        "plant.meaning": (
            (
                "No meter of any gateway delivers ({count} meters). The broker, the network or this server's own "
                "reception is the likely place."
            ),
            "所有网关的电表（共 {count} 台）均无数据。可能原因：消息服务器、网络或本服务器的接收程序。",
        ),
        "bus.check.1": (
            "Has the converter or serial server of this line power, and does its link light burn?",
            "该总线的转换器或串口服务器是否有电、链路灯是否亮？",
        ),
        "bus.check.2": (
            "Serial line: cable at the first meter, A/B swapped, terminator. TCP: can the address be pinged?",
            "串行线：首台电表处电缆、A/B 是否接反、终端电阻。TCP：能否 ping 通该地址？",
        ),
        "bus.check.3": (
            "On the gateway, see what is on the line: meterline monitor {subject}",
            "在网关上查看总线报文：meterline monitor {subject}",
        ),
        "gateway.check.1": ("Has the gateway power, and does it run?", "网关是否有电、是否在运行？"),
        "gateway.check.2": (
            "Its network: cable, switch, firewall towards the broker.",
            "网络：网线、交换机、到消息服务器的防火墙。",
        ),
        "gateway.check.3": (
            "Does its clock run right? A certificate is refused by a wrong clock.",
            "网关时钟是否正确？时钟错误会导致证书被拒绝。",
        ),
        "plant.check.1": ("Does the broker run? (meterline status)", "消息服务器是否运行？（meterline status）"),
        "plant.check.2": ("Is the plant's network or its uplink down?", "工厂网络或上行链路是否中断？"),
        "plant.check.3": ("Does this server's disk have room?", "本服务器磁盘是否有空间？"),
    }
)  # fmt: skip

EVIDENCE: Mapping[str, tuple[str, str]] = {
    "expected_kw": ("expected", "期望值"),
    "expected_at_least_kw": ("expected at least", "期望不低于"),
    "expected_v": ("expected", "期望值"),
    "expected_share": ("expected share of the current", "期望电流占比"),
    "threshold_kw": ("threshold", "阈值"),
    "mean_kw": ("seen, mean", "实测平均"),
    "seen_kw": ("seen, mean", "实测平均"),
    "seen_v": ("seen", "实测"),
    "peak_kw": ("highest seen", "实测最大"),
    "rated_kw": ("rated", "额定"),
    "expected": ("expected", "期望值"),
    "seen": ("seen", "实测"),
    "channel": ("channel", "通道"),
    "channels": ("channels that stand still", "停滞通道数"),
    "phase": ("phase", "相别"),
    "before_kwh": ("counter before", "之前示值"),
    "after_kwh": ("counter after", "之后示值"),
    "booked_kwh": ("booked for the step", "该步计入"),
    "expected_kwh": ("expected by the power", "按功率应计"),
    "counted_kwh": ("counted", "实计"),
    "integrated_kwh": ("by the power", "按功率积分"),
    "odd_kwh": ("odd readings", "异常读数"),
    "set_aside": ("readings set aside", "剔除读数"),
    "missed_polls": ("polls without answer", "未应答轮次"),
    "last_seen_ns": ("last answer", "最后应答"),
    "first_silent_ns": ("first meter silent since", "首台无应答时间"),
    "silent_meters": ("silent meters", "无应答电表数"),
    "other_moved_share": ("change of the other channels", "其他通道变化"),
    "recorded_silent": ("the gateway asked in vain", "网关已询问但无应答"),
}
PHASES = {"l1": ("L1", "A相"), "l2": ("L2", "B相"), "l3": ("L3", "C相")}
NOT_SHOWN = ("t_ns", "around", "break")
"""Evidence for the chart, or said by the heading already."""
UNITS = {"m3": "m³", "m3/h": "m³/h", "degC": "°C", "1": ""}


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of evidence: what, how much, of what."""

    label: str
    value: str
    unit: str = ""


def of(title: Title, language: Language) -> str:
    """A name from the site file in one language."""
    return title.zh if language == "zh" else title.en


def heading(entry: Entry, language: Language) -> str:
    """What is wrong, in a few words."""
    if entry.scope is not Scope.METER:
        return TEXTS(f"{entry.scope}.title", language)
    return getattr(entry.about.title, language)  # type: ignore[no-any-return]


def meaning(entry: Entry, language: Language) -> str:
    """What it means for the plant, in a sentence or two."""
    if entry.scope is not Scope.METER:
        return TEXTS(f"{entry.scope}.meaning", language, count=len(entry.meters))
    return getattr(entry.about.meaning, language)  # type: ignore[no-any-return]


def checks(entry: Entry, language: Language) -> list[str]:
    """What to look at, the likeliest and cheapest first."""
    if entry.scope is not Scope.METER:
        return [TEXTS(f"{entry.scope}.check.{n}", language, subject=entry.subject) for n in (1, 2, 3)]
    return [getattr(words, language) for words in entry.about.check_first]


def about(entry: Entry, plant: Plant, language: Language) -> str:
    """Name of the meter, line, gateway or plant concerned."""
    match entry.scope:
        case Scope.METER:
            meter = plant.meters.get(entry.subject)
            return of(meter.name, language) if meter else entry.subject
        case Scope.PLANT:
            return of(plant.site.site.name, language)
        case _:
            return entry.subject


def endpoint(bus: Bus) -> str:
    """Where a line is: the port or address an electrician looks for."""
    return bus.where if bus.kind == "serial" else f"{bus.where} ({bus.kind})"


def unit_words(unit: str) -> str:
    """A canonical unit as people write it: m³, °C."""
    return UNITS.get(unit, unit.replace("CO2", "CO₂").replace("/m3", "/m³"))


def unit_of(entry: Entry, plant: Plant, key: str) -> str:
    """Unit of an evidence value by its name's ending; ``_kw`` and ``_kwh`` stand for the carrier's own units."""
    meter = plant.meters.get(entry.subject)
    carrier = plant.carrier_of(meter) if meter else None
    if key.endswith("_kwh"):
        return unit_words(MEASURANDS[ACCOUNT[carrier][0]].unit) if carrier else "kWh"
    if key.endswith("_kw"):
        return unit_words(MEASURANDS[POWER_LIKE[carrier][0]].unit) if carrier else "kW"
    if key.endswith("_v") or key.startswith("voltage_"):
        return "V"
    if key.endswith("_a"):
        return "A"
    channel = entry.evidence.get("channel")
    if key in ("expected", "seen") and isinstance(channel, str) and channel in MEASURANDS:
        return unit_words(MEASURANDS[channel].unit)
    return ""


def facts(entry: Entry, plant: Plant, language: Language) -> list[Fact]:
    """The numbers a claim stands on; of a curve its mean (of amounts their sum), the rest is left to the chart."""
    found = []
    phase = str(entry.evidence.get("phase", ""))
    for key, value in entry.evidence.items():
        if key in NOT_SHOWN or (phase and key.startswith("seen_l") and not key.startswith(f"seen_{phase}_")):
            continue
        text = _said(key, value, plant.site.site.zone, language)
        if text:
            found.append(Fact(_label(key, language), text, unit_of(entry, plant, key)))
    return found


def _label(key: str, language: Language) -> str:
    place = LANGUAGES.index(language)
    if key in EVIDENCE:
        return EVIDENCE[key][place]
    first, _, rest = key.partition("_")
    phase = rest.partition("_")[0]
    if first in ("seen", "voltage") and phase in PHASES:
        name = EVIDENCE["seen"][place] if first == "seen" else ("voltage", "电压")[place]
        return f"{name} {PHASES[phase][place]}"
    return key.replace("_", " ")


def _said(key: str, value: Any, zone: ZoneInfo, language: Language) -> str:
    if isinstance(value, tuple):
        known = [v for v in value if v is not None]
        if not known:
            return ""
        if key == "odd_kwh":
            return ", ".join(number(v) for v in known[:6])
        total = sum(known)
        return number(float(total if key.endswith("_kwh") else total / len(known)))
    if key.endswith("_ns") and isinstance(value, int):
        return local(value, zone)
    if key == "recorded_silent":
        return (("no", "否"), ("yes", "是"))[bool(value)][LANGUAGES.index(language)]
    if isinstance(value, str):
        if value in PHASES:
            return PHASES[value][LANGUAGES.index(language)]
        if value == "all":
            return ("all", "全部")[LANGUAGES.index(language)]
        measurand = MEASURANDS.get(value)
        return value if measurand is None else (measurand.zh if language == "zh" else measurand.en)
    return number(value)


def state_words(entry: Entry, now_ns: int, language: Language) -> str:
    """The state, and the doubt on it where the meter is silent."""
    state = TEXTS(entry.state(now_ns), language)
    if entry.condition is Condition.UNKNOWN and entry.state(now_ns) is not State.SHELVED:
        return f"{state} ({TEXTS('condition.unknown', language)})"
    return state


def severity_words(severity: Severity, language: Language) -> str:
    return TEXTS(severity, language)


def local(t_ns: int, zone: ZoneInfo, *, seconds: bool = True) -> str:
    """A moment in plant time: ``2026-03-02 16:05:00``."""
    moment = dt.datetime.fromtimestamp(t_ns // NS, tz=dt.UTC).astimezone(zone)
    return f"{moment:%Y-%m-%d %H:%M:%S}" if seconds else f"{moment:%Y-%m-%d %H:%M}"


def zone_words(t_ns: int, zone: ZoneInfo) -> str:
    """The zone with its offset at that moment: ``Asia/Shanghai, UTC+08:00``."""
    moment = dt.datetime.fromtimestamp(t_ns // NS, tz=dt.UTC).astimezone(zone)
    offset = f"{moment:%z}"
    return f"{zone.key}, UTC{offset[:3]}:{offset[3:]}"


def duration(span_ns: int, language: Language) -> str:
    """A length of time as people say it: ``3 h 20 min``."""
    seconds = max(span_ns // NS, 0)
    names = ("天", "小时", "分钟", "秒") if language == "zh" else ("d", "h", "min", "s")
    parts = (seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60, seconds % 60)
    said = [f"{part} {name}" for part, name in zip(parts, names, strict=True) if part][:2]
    return " ".join(said) or f"0 {names[3]}"


def number(value: Any) -> str:
    """Four significant digits, thousands apart, no exponent for plant-sized numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,d}"
    if not math.isfinite(value):
        return "–"
    if value.is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    if value != 0 and not 1e-3 <= abs(value) < 1e9:
        return f"{value:.3g}"
    places = 3 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:,.{max(0, places)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
