"""The M-Bus codec against published and captured frames; what a meter repeats is not taken for news."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.protocols.mbus import REQUESTS, AskForData, MbusQuestion, Record, encode_request, records_in
from meterline.errors import FrameError, Refused
from tests.collector.test_golden_profiles import golden

PUBLISHED = (
    "68 1F 1F 68 08 02 72 78 56 34 12 24 40 01 07 55 00 00 00 03 13 15 31 00 DA 02 3B 13 01 8B 60 04 37 18 02 18 16"
)
"""facts/protocols.md, B9: id 12345678, volume 12 565 l, greatest flow 113 l/h, energy 218.37 kWh."""


def asked(frame: str, **ask: Any) -> bytes:
    question = MbusQuestion(AskForData(bytes.fromhex(frame)[5], **ask), cycle(REQUESTS))
    payload = question.answer(bytearray.fromhex(frame))
    assert payload is not None
    return payload


def telegram(body: str) -> bytearray:
    raw = bytes.fromhex(body)
    return bytearray(bytes((0x68, len(raw), len(raw), 0x68)) + raw + bytes((sum(raw) % 256, 0x16)))


def record(body: str) -> Record:
    """The one record of an answer."""
    return list(records_in(bytes(12) + bytes.fromhex(body)))[2]


def test_the_records_of_the_published_frame() -> None:
    identity, status, volume, flow, energy = records_in(asked(PUBLISHED))
    assert (identity.number, status.number) == (12_345_678, 0)
    assert volume == Record("volume", "now", 0, 0, 0, 12_565, -3)
    assert flow == Record("flow.volume", "maximum", 5, 0, 0, 113, -3)
    assert energy == Record("energy.wh", "now", 0, 2, 1, 21_837, 1)


def test_a_request_is_short_and_turns_its_bit_over() -> None:
    """EN 13757-2: REQ_UD2 to address 1."""
    assert encode_request(1, 0x7B) == bytes.fromhex("10 7B 01 7C 16")
    counts = cycle(REQUESTS)
    assert [MbusQuestion(AskForData(1), counts).request[1] for _ in range(3)] == [0x7B, 0x5B, 0x7B]


@given(st.integers(0, 255), st.integers(0, 255))
def test_nothing_but_asking_for_data_can_be_sent(address: int, control: int) -> None:
    if control in (0x5B, 0x7B) and 1 <= address <= 250:
        assert len(encode_request(address, control)) == 5
    else:
        with pytest.raises(ValueError, match=r"does not ask|no address"):
            encode_request(address, control)


def test_the_first_answer_after_a_start_may_be_an_old_one_and_does_not_count() -> None:
    question = MbusQuestion(AskForData(2, is_first=True), cycle(REQUESTS))
    assert question.answer(bytearray.fromhex(PUBLISHED)) == b""
    again = question.following()
    assert again is not None
    assert again.request[1] != question.request[1]
    assert again.answer(bytearray.fromhex(PUBLISHED)) == bytes.fromhex(PUBLISHED)[7:-2]
    assert again.following() is None


def test_an_answer_in_two_telegrams_is_one() -> None:
    question = MbusQuestion(AskForData(1), cycle(REQUESTS))
    first = question.answer(telegram("08 01 72 78 56 34 12 24 40 01 07 55 00 00 00 03 13 15 31 00 1F"))
    rest = question.following()
    assert rest is not None
    second = rest.answer(telegram("08 01 72 78 56 34 12 24 40 01 07 56 00 00 00 04 06 01 00 00 00"))
    assert rest.following() is None
    assert first is not None
    assert second == bytes.fromhex("04 06 01 00 00 00")


@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("name", ["mbus-water", "mbus-heat"])
def test_no_part_and_no_wrong_bit_is_an_answer(name: str, case: int) -> None:
    raw = bytearray.fromhex(golden(name)["cases"][case]["frames"][0])
    question = MbusQuestion(AskForData(raw[5]), cycle(REQUESTS))
    assert question.answer(bytearray(b"\xe5\x68\x10") + question.request + raw) is not None, "noise and echo before it"
    for length in range(len(raw)):
        assert question.answer(raw[:length]) is None
    for bit in range(8 * len(raw)):
        spoilt = bytearray(raw)
        spoilt[bit // 8] ^= 1 << bit % 8
        assert question.answer(spoilt) is None


def test_another_meters_answer_is_passed_over() -> None:
    question = MbusQuestion(AskForData(3), cycle(REQUESTS))
    assert question.answer(bytearray.fromhex(PUBLISHED)) is None
    assert question.foreign(bytearray.fromhex(PUBLISHED))


def test_what_cannot_be_read_is_refused_with_the_reason() -> None:
    question = MbusQuestion(AskForData(1), cycle(REQUESTS))
    with pytest.raises(FrameError, match="encrypted"):
        question.answer(telegram("08 01 72 78 56 34 12 24 40 01 07 55 00 00 05 03 13 15 31 00"))
    with pytest.raises(FrameError, match="kind 76"):
        question.answer(telegram("08 01 76 78 56 34 12 24 40 01 07 55 00 00 00"))
    with pytest.raises(FrameError, match="within its header"):
        question.answer(telegram("08 01 72 78 56"))
    with pytest.raises(Refused, match="busy"):
        question.answer(telegram("08 01 70 08"))


@pytest.mark.parametrize(
    ("body", "quantity", "number", "power", "factor"),
    [
        # EN 13757-3: data field of the DIF, VIF tables; each value written out by hand
        ("01 13 FF", "volume", -1, -3, 1),
        ("0C 13 78 56 34 F2", "volume", -2_345_678, -3, 1),  # F in the highest place is a minus sign
        ("0C 13 78 56 3D 12", "volume", None, -3, 1),
        ("05 5B 00 00 AA 41", "temperature.flow", 21.25, 0, 1),
        ("05 5B 00 00 C0 7F", "temperature.flow", None, 0, 1),
        ("02 59 B9 27", "temperature.flow", 10_169, -2, 1),
        ("07 0B 01 00 00 00 00 00 00 00", "energy.j", 1, 3, 1),
        ("04 41 3C 00 00 00", "flow.volume", 60, -6, 60),  # m3/min
        ("04 49 3C 00 00 00", "flow.volume", 60, -8, 3600),  # m3/s
        ("02 69 E8 03", "pressure", 1000, -2, 1),
        ("02 27 02 00", "hours.operating", 2, 0, 24),  # days
        ("04 20 3C 00 00 00", "", 60, 0, 1),  # seconds are no whole hours
        ("04 86 3B 01 00 00 00", "energy.wh", 1, 3, 1),  # positive contributions only
        ("04 86 3C 01 00 00 00", "", 1, 0, 1),  # negative ones: another quantity
        ("02 FC 03 48 52 25 74 22 15", "", 5410, 0, 1),  # unit in letters
        ("0D 7C 02 41 42 03 31 32 33", "", None, 0, 1),  # a text
        ("84 80 80 80 80 80 80 80 40 13 01 00 00 00", "volume", 1, -3, 1),
    ],
)
def test_single_records(body: str, quantity: str, number: float | None, power: int, factor: int) -> None:
    found = record(body)
    assert (found.quantity, found.number) == (quantity, number)
    if quantity:
        assert (found.power, found.factor) == (power, factor)


@pytest.mark.parametrize(
    "body", ["04", "04 13 01", "84", "8C 80", "0D 78", "0D 78 FF", "8F " + "80 " * 12, "02 FC 30 41"]
)
def test_a_record_that_does_not_end_is_refused(body: str) -> None:
    with pytest.raises(FrameError):
        list(records_in(bytes(12) + bytes.fromhex(body)))


@given(st.binary(max_size=240))
def test_any_bytes_are_records_or_refused(raw: bytes) -> None:
    try:
        found = list(records_in(bytes(12) + raw))
    except FrameError:
        return
    assert len(found) <= 2 + len(raw)
