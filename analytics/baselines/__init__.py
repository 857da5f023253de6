"""Baselines: what a meter would be expected to show, learnt from its own past.

- `expected_day`: the hours of a day from days of the same kind, for judging that day.
"""

from __future__ import annotations

from analytics.baselines.expected_day import DayBooks, Expected

__all__ = ["DayBooks", "Expected"]
