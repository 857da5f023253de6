"""A score for every reading: how much it belongs to what was found."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from analytics.findings import Finding
from analytics.history.record import MeterRecord
from analytics.series import FloatArray


def score_readings(record: MeterRecord, findings: Iterable[Finding]) -> FloatArray:
    """The confidence of the surest finding that covers each reading.

    Parameters
    ----------
    record : MeterRecord
    findings : iterable of Finding
        Those of other meters are left out.

    Returns
    -------
    (n,) float64
        0..1, one a row of the record, in its order; 0 where nothing was found.
    """
    score = np.zeros(len(record))
    for finding in findings:
        if finding.meter != record.facts.meter:
            continue
        a = int(np.searchsorted(record.rx_ns, finding.start_ns))
        # answers come some seconds early or late: the end is taken in the middle between two polls
        end = None if finding.end_ns is None else finding.end_ns - record.facts.interval_ns // 2
        b = len(record) if end is None else int(np.searchsorted(record.rx_ns, end))
        np.maximum(score[a:b], finding.confidence, out=score[a:b])
    return score
