"""Texts for people in the languages of the plant: English and Simplified Chinese, side by side in one row.

A text stands in a table as ``key -> (English, 中文)``, so that a row without its translation cannot be written. Values
are filled in by name (``{meter}``); they are text already and never formats themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


class Texts:
    """A table of texts.

    Raises
    ------
    ValueError
        The two texts of a row do not name the same values: one language would lose a number.
    """

    def __init__(self, rows: Mapping[str, tuple[str, str]]) -> None:
        self._rows = dict(rows)
        for key, (en, zh) in self._rows.items():
            if _fields(en) != _fields(zh):
                raise ValueError(f"text {key!r}: English names {_fields(en)}, Chinese {_fields(zh)}")

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __call__(self, key: str, language: Language, **values: object) -> str:
        """The text of `key` with its values; KeyError for a key that is not in the table."""
        return self._rows[key][LANGUAGES.index(language)].format(**{k: str(v) for k, v in values.items()})

    def rows(self, language: Language) -> dict[str, str]:
        """Every text of one language, unfilled: what a page's script needs."""
        return {key: pair[LANGUAGES.index(language)] for key, pair in self._rows.items()}


def _fields(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


def choose_language(*wishes: str | None) -> Language:
    """The first wish that can be met, English if none can.

    Parameters
    ----------
    wishes
        In order of weight: a query parameter, a cookie, an ``Accept-Language`` header (RFC 9110, 12.5.4).
    """
    for wish in wishes:
        ranked: list[tuple[float, int, Language]] = []
        for place, item in enumerate((wish or "").split(",")):
            tag, _, weight = item.partition(";")
            primary = tag.strip().lower().partition("-")[0]
            found = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", weight) if weight else None
            quality = float(found[1]) if found else 1.0
            ranked += [(-quality, place, language) for language in LANGUAGES if primary == language and quality > 0]
        if ranked:
            return min(ranked)[2]
    return "en"
