"""The same questions as `analytics.detectors`, asked over weeks of a whole plant: audits, imported data, backtests.

`analytics.detectors` looks through a window of hours at one meter, for the alarm of today. Here a meter's whole record
is followed in order, what is usual is learnt on the way, and the meters of a plant are judged together::

    findings = examine_plant([MeterRecord(facts, rx_ns, ts_ns, columns), ...])

What a finding claims rests on readings up to its `detected_ns` only.

- clocks, counters, garbled words, spikes, noise, standing values, phases: a meter against itself;
- balance: main against sub-meters (`theft`, `ratio_change`, `sum_mismatch`);
- consumption: days against what is expected of them.
"""

from __future__ import annotations

from analytics.history.record import CHANNELS, MeterFacts, MeterRecord
from analytics.history.rounds import examine_plant

HISTORY_SAYS = (
    "gap", "stuck", "zero", "spike", "noise", "word_swap", "duplicate_ts", "clock_jump", "dst_shift",
    "counter_reset", "counter_rollover", "counter_backwards", "phase_voltage_loss", "phase_current_loss",
    "phase_reversal",
    "ratio_change", "theft", "sum_mismatch", "leak", "base_load", "unusual_level", "unusual_shape", "missing_cycle",
    "off_hours",
)  # fmt: skip
"""Every kind `examine_plant` may say."""

__all__ = ["CHANNELS", "HISTORY_SAYS", "MeterFacts", "MeterRecord", "examine_plant"]
