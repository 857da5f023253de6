"""Faults by recipe: what goes wrong in the factory, when, for how long, and the sentence that says so.

A recipe is relative ("40 minutes after the start, for half an hour"; "at 21:30"). When a run starts, each recipe is
planted: it gets its moment of plant time, and from then on everything the factory does is a function of that time.

Faults sit in four places:

=========  ==================================================================  =============================
where      kinds                                                               who notices
=========  ==================================================================  =============================
load       overload, night_load                                                the meter and all above it
meter      phase_loss, counter_backwards, counter_reset                        this meter only: it counts wrong
display    frozen, spike                                                       whoever reads the meter
line       silent, late, exception, disconnect, noise                          the collector
=========  ==================================================================  =============================
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from meterline.clock import NS
from meterline.documents import Document
from meterline.measurands import MEASURANDS
from meterline.plant import Plant
from meterline.site import ClockTime, Id

Where = Literal["load", "meter", "display", "line"]
FaultKind = Literal[
    "overload", "night_load", "phase_loss", "frozen", "spike", "counter_backwards", "counter_reset",
    "silent", "late", "exception", "disconnect", "noise",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class KindRow:
    """One kind of fault: where it sits, and its sentence. ``{meter}``, ``{lasts}``, ``{level}`` are filled in."""

    where: Where
    en: str
    zh: str
    level: float = 0.0
    """What `Fault.level` means when the recipe gives none."""


KINDS: dict[FaultKind, KindRow] = {
    "overload": KindRow(
        "load", "{meter} draws {level:g} times its rating for {lasts}",
        "{meter}过负荷：额定值的{level:g}倍，持续{lasts}", 1.15,
    ),
    "night_load": KindRow(
        "load", "{level:g} kW left running behind {meter} outside working time, for {lasts}",
        "非工作时段{meter}下有{level:g} kW设备未停，持续{lasts}", 20.0,
    ),
    "phase_loss": KindRow(
        "meter", "{meter} loses its voltage L{level:g} for {lasts} (fuse blown): it counts too little",
        "{meter}第{level:g}相失压{lasts}（熔断器熔断），电量少计", 2.0,
    ),
    "frozen": KindRow("display", "{meter} repeats its last values for {lasts}", "{meter}数值冻结{lasts}"),
    "spike": KindRow(
        "display", "{meter} shows {level:g} times its power for {lasts}",
        "{meter}功率显示值突变为{level:g}倍，持续{lasts}", 40.0,
    ),
    "counter_backwards": KindRow(
        "meter", "the counter of {meter} runs backwards for {lasts}", "{meter}表码倒走{lasts}"
    ),
    "counter_reset": KindRow("meter", "the counter of {meter} falls to zero", "{meter}表码归零"),
    "silent": KindRow("line", "{meter} stops answering for {lasts}", "{meter}通信中断{lasts}"),
    "late": KindRow("line", "{meter} answers too late for {lasts}", "{meter}应答超时{lasts}"),
    "exception": KindRow(
        "line", "{meter} answers with error code {level:g} for {lasts}", "{meter}返回异常码{level:g}，持续{lasts}", 4.0
    ),
    "disconnect": KindRow(
        "line", "the line hangs up on whoever asks {meter}, for {lasts}", "读取{meter}时连接被断开，持续{lasts}"
    ),
    "noise": KindRow("line", "noise on the line of {meter} for {lasts}", "{meter}所在线路受干扰{lasts}"),
}  # fmt: skip


class Recipe(Document):
    """One fault of a timetable."""

    kind: FaultKind
    meter: Id
    after_min: Annotated[float, Field(ge=0)] | None = None
    """Plant minutes after the start of the run. [min]"""
    at: ClockTime | None = None
    """Or: when the plant's clock next shows this."""
    lasts_min: Annotated[float, Field(gt=0)] = 30.0
    """How long. A counter that was reset stays so. [min]"""
    level: float | None = None
    """How strong; what it means depends on the kind (factor, kW, phase, error code)."""
    measurand: str = "power.active.total"
    """Which value a spike hits."""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if (self.after_min is None) == (self.at is None):
            raise ValueError("a fault needs its moment; give either 'after_min' or 'at'")
        if self.measurand not in MEASURANDS:
            raise ValueError(f"unknown measurand {self.measurand!r}; see docs/nomenclature.md for the list")
        if self.kind == "phase_loss" and self.level not in (None, 1, 2, 3):
            raise ValueError("'level' of a phase_loss is the phase; give 1, 2 or 3")
        return self


@dataclass(frozen=True, slots=True)
class Fault:
    """A recipe with its moment: planted.

    Attributes
    ----------
    start_ns, end_ns
        Half-open span of plant time. [ns]
    en, zh
        The sentence for people.
    """

    kind: FaultKind
    meter: str
    start_ns: int
    end_ns: int
    level: float
    measurand: str
    en: str
    zh: str

    @property
    def where(self) -> Where:
        """Load, meter, display or line."""
        return KINDS[self.kind].where

    def active(self, t_ns: int) -> bool:
        """Whether it is on at a moment."""
        return self.start_ns <= t_ns < self.end_ns

    def text(self, language: str) -> str:
        """The sentence in ``en`` or ``zh``."""
        return self.zh if language == "zh" else self.en


def plant_faults(recipes: Iterable[Recipe], plant: Plant, start_ns: int) -> tuple[Fault, ...]:
    """Give every recipe its moment in a run that starts at `start_ns`, earliest first. Moments fall on whole steps."""
    zone = plant.site.site.zone
    found = []
    for recipe in recipes:
        row = KINDS[recipe.kind]
        if recipe.after_min is not None:
            at_s = start_ns / NS + recipe.after_min * 60
        else:
            at_s = _next(str(recipe.at), dt.datetime.fromtimestamp(start_ns / NS, zone)).timestamp()
        begin = round(at_s / 10) * 10 * NS
        lasting = round(recipe.lasts_min * 6) * 10 * NS
        level = row.level if recipe.level is None else recipe.level
        meter = plant.meters[recipe.meter]
        words = {
            language: pattern.format(meter=name, level=level, lasts=_lasting(recipe.lasts_min, language))
            for language, pattern, name in (("en", row.en, meter.name.en), ("zh", row.zh, meter.name.zh))
        }
        found.append(
            Fault(recipe.kind, recipe.meter, begin, begin + lasting, level, recipe.measurand, words["en"], words["zh"])
        )
    return tuple(sorted(found, key=lambda fault: fault.start_ns))


def _next(clock_time: str, now: dt.datetime) -> dt.datetime:
    hour, minute = int(clock_time[:2]) % 24, int(clock_time[3:])
    moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return moment if moment >= now else moment + dt.timedelta(days=1)


def _lasting(minutes: float, language: str) -> str:
    if minutes >= 120 and minutes % 60 == 0:
        return f"{minutes / 60:g}小时" if language == "zh" else f"{minutes / 60:g} h"
    return f"{minutes:g}分钟" if language == "zh" else f"{minutes:g} min"
