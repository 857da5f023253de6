"""Small drawings and words in a page: a sparkline's path, an age, a share."""

from __future__ import annotations

from collections.abc import Sequence

from headend import words
from meterline.clock import NS
from meterline.texts import Language


def spark_path(values: Sequence[float | None], width: float = 120, height: float = 28, pad: float = 2) -> str:
    """An SVG path over evenly spaced values, zero at the bottom; it breaks where a value is missing.

    A lone value between two gaps is a dot (a line of no length with round ends).
    """
    known = [value for value in values if value is not None]
    if not known:
        return ""
    top, bottom = max(0.0, *known), min(0.0, *known)
    scale = (height - 2 * pad) / (top - bottom) if top > bottom else 0.0
    step = (width - 2 * pad) / max(len(values) - 1, 1)
    path: list[str] = []
    drawing = False
    for n, value in enumerate(values):
        if value is None:
            if drawing and path[-1].startswith("M"):
                path.append("h0")
            drawing = False
            continue
        x, y = pad + n * step, height - pad - (value - bottom) * scale
        path.append(f"{'L' if drawing else 'M'}{x:.1f} {y:.1f}")
        drawing = True
    if drawing and path[-1].startswith("M"):
        path.append("h0")
    return "".join(path)


def age_words(seconds: float | None, language: Language) -> str:
    """How long ago, in at most two units; a dash for never."""
    return "–" if seconds is None else words.duration(round(seconds) * NS, language)


def percent(share: float) -> str:
    """A share as whole percent, where almost all is not all and almost nothing is not nothing."""
    whole = round(share * 100)
    if whole == 100 and share < 1:
        whole = 99
    if whole == 0 and share > 0:
        whole = 1
    return str(whole)
