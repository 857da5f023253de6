"""A small chart for a mail: the curve around a finding, gaps as gaps, the affected span shaded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from meterline.clock import NS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "Microsoft YaHei", "SimHei", "SimSun", "PingFang SC", "Heiti SC",
    "Arial Unicode MS",
)  # fmt: skip
"""Families with Chinese glyphs, in order of preference; none of them is shipped."""
MARK, CURVE, SHADE = "#d55e00", "#0072b2", "#e69f00"
"""Okabe and Ito's palette: told apart with every kind of colour vision."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What the chart draws. Values are None where there is no value.

    Attributes
    ----------
    name, unit
        In the reader's language.
    """

    name: str
    unit: str
    t_ns: Sequence[int]
    value: Sequence[float | None]


def chinese_font() -> str | None:
    """The first family on this machine that has Chinese glyphs, or None: `doctor` says so then."""
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in FONTS if name in there), None)


def draw(
    curve: Curve, *, start_ns: int, end_ns: int | None, zone: ZoneInfo, limit: tuple[str, float] | None = None
) -> bytes:
    """A PNG of a curve with the affected span.

    Parameters
    ----------
    limit
        A level that was expected or rated, with its name.
    """
    # Imported here: it takes a second, and only a mail with a chart needs it.
    from matplotlib import dates
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    font = chinese_font()
    # Without a Chinese font the labels would be boxes; numbers and times say enough.
    readable = font is not None or (curve.name + curve.unit).isascii()
    figure = Figure(figsize=(6.4, 2.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes = figure.add_subplot()
    family = [font, "DejaVu Sans"] if font else ["DejaVu Sans"]
    times = [_days(t) for t in curve.t_ns]
    values = [float("nan") if value is None else value for value in curve.value]
    lone = len(values) < 40
    axes.plot(times, values, color=CURVE, linewidth=1.4, marker="o" if lone else "", markersize=3)
    begin, last = _days(start_ns), _days(end_ns or max(curve.t_ns, default=start_ns))
    axes.axvspan(begin, max(last, begin), color=SHADE, alpha=0.25, linewidth=0)
    axes.axvline(begin, color=MARK, linewidth=1)
    if limit is not None:
        name, level = limit
        axes.axhline(level, color=MARK, linewidth=1, linestyle="--")
        if font is not None or name.isascii():
            axes.annotate(
                name, (1, level), xycoords=("axes fraction", "data"), xytext=(-4, 3), textcoords="offset points",
                ha="right", fontsize=8, color=MARK, family=family,
            )  # fmt: skip
    if readable:
        axes.set_title(f"{curve.name} [{curve.unit}]", fontsize=9, loc="left", family=family)
    locator = dates.AutoDateLocator(tz=zone, minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = dates.ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator,
        tz=zone,
        # digits only: the same in every language
        formats=["%Y", "%Y-%m", "%m-%d", "%H:%M", "%H:%M", "%H:%M:%S"],
        zero_formats=["", "%Y", "%m-%d", "%m-%d", "%H:%M", "%H:%M"],
        offset_formats=["", "", "", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d"],
    )
    axes.xaxis.set_major_formatter(formatter)
    axes.xaxis.get_offset_text().set_fontsize(8)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if values and min((v for v in values if v == v), default=0) >= 0:
        axes.set_ylim(bottom=0)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _days(t_ns: int) -> float:
    """A moment as matplotlib counts: days since 1970 UTC."""
    return t_ns / NS / 86_400
