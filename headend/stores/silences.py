"""Missing spans as gateways tell them: opened when a meter falls silent, told again with an end when it is back."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from headend.stores.api import Span
from meterline.readings import MissingSpan


def settled(spans: Iterable[MissingSpan]) -> list[MissingSpan]:
    """One span per meter and start, with the end if any of the tellings knows it; in order of start.

    A span that lasts ends where the next one of the same meter begins: whoever fell silent again had been back.
    """
    known: dict[tuple[str, int], MissingSpan] = {}
    for span in spans:
        before = known.get((span.meter, span.start_ns))
        if before is None or _later_end(span, before):
            known[span.meter, span.start_ns] = span
    ordered = sorted(known.values(), key=lambda s: (s.meter, s.start_ns))
    for k, (span, after) in enumerate(pairwise(ordered)):
        if span.meter == after.meter and span.end_ns is None:
            ordered[k] = MissingSpan(span.meter, span.start_ns, after.start_ns, span.cause)
    return sorted(ordered, key=lambda s: (s.start_ns, s.meter))


def _later_end(span: MissingSpan, other: MissingSpan) -> bool:
    """An end beats none, a later end an earlier one: the same choice in whatever order they arrive."""
    return (span.end_ns or 0, span.cause) > (other.end_ns or 0, other.cause)


def touching(spans: Iterable[MissingSpan], span: Span) -> tuple[MissingSpan, ...]:
    """Those that overlap the half-open span; a lasting one reaches to the end of time."""
    return tuple(s for s in spans if s.start_ns < span.end_ns and (s.end_ns is None or s.end_ns > span.start_ns))
