"""Load records and moments of DL/T 645-2007, against records laid out by hand after the standard's annex B."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.protocols.dlt645_records import load_records, moment, records_from
from meterline.errors import FrameError

ENERGIES = "78 45 12 00 05 17 00 00 01 00 00 00 02 00 00 00"
BODY = "30 10 18 05 26" + " AA AA AA " + ENERGIES + " AA AA AA"
"""2026-05-18 10:30; 1245.78 kWh forward, 17.05 reverse, 0.01 and 0.02 kvarh: classes 1, 2, 3, 5 and 6 are empty."""


def record(body: str, start: str = "A0 A0", end: str = "E5", off: int = 0) -> bytes:
    raw = bytes.fromhex(start) + bytes((len(bytes.fromhex(body)),)) + bytes.fromhex(body)
    return raw + bytes(((sum(raw) + off) % 256,)) + bytes.fromhex(end)


def test_the_energies_of_a_record() -> None:
    (found,) = load_records(record(BODY))
    assert (found.minute, found.energies(), found.is_damaged) == (202_605_181_030, (124_578, 1705, 1, 2), False)


def test_all_six_classes() -> None:
    """17 + 24 + 8 + 16 + 16 + 6 bytes with their six closing bytes: 103 with head, sum and end."""
    classes = ["01 22 " * 8 + "50", "11 " * 24, "00 10 " * 4, ENERGIES, "07 " * 16, "12 " * 6]
    raw = record("45 10 18 05 26 " + " AA ".join(classes) + " AA")
    assert len(raw) == 103
    (found,) = load_records(raw)
    assert [len(each) for each in found.classes] == [17, 24, 8, 16, 16, 6]
    assert found.energies()[0] == 124_578


def test_a_record_whose_last_class_is_not_closed() -> None:
    (found,) = load_records(record(BODY[:-3]))
    assert found.energies()[1] == 1705


def test_several_records_and_one_the_meter_calls_damaged() -> None:
    found = list(load_records(record(BODY) + record(BODY, start="E0 E0") + record(BODY)))
    assert [each.is_damaged for each in found] == [False, True, False]


@pytest.mark.parametrize(
    "raw",
    [
        record(BODY, off=1), record(BODY, end="E6"), record(BODY, start="A0 A1"), record(BODY)[:-1],
        record(BODY + " AA"), record("3A 10 18 05 26 AA AA AA AA AA AA"), b"\xa0\xa0",
        b"\xa0\xa0\x00\x40\xe5\x00\x00\x00\x00\x00",
    ],
)  # fmt: skip
def test_a_record_that_does_not_add_up_is_refused(raw: bytes) -> None:
    with pytest.raises(FrameError):
        list(load_records(raw))


@given(st.binary(max_size=250))
def test_rubbish_is_refused_or_empty(raw: bytes) -> None:
    try:
        found = list(load_records(raw))
    except FrameError:
        return
    assert bool(found) == bool(raw)


def test_how_records_are_asked_for() -> None:
    """Number of records, then minute, hour, day, month, year (annex B: low byte first)."""
    assert records_from(202_605_181_030, 5) == bytes.fromhex("05 30 10 18 05 26")


def test_moments() -> None:
    assert moment(bytes.fromhex("30 10 18 05 26")) == 20_260_518_103_000
    assert moment(bytes.fromhex("59 30 10 18 05 26")) == 20_260_518_103_059
    assert moment(bytes(6)) == 0
    assert moment(bytes.fromhex("FF FF FF FF FF FF")) is None
    assert moment(b"\x01") is None
