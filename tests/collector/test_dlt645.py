"""The DL/T 645 codec against published frames, and against the codec of the ``dlt645`` package."""

from __future__ import annotations

import pytest
from dlt645 import DLT645Protocol
from hypothesis import given
from hypothesis import strategies as st

from collector.protocols.dlt645 import (
    ANYBODY,
    FUNCTIONS,
    AddressQuestion,
    Dlt645Question,
    ReadItem,
    clock_broadcast,
    decode_frame,
    digits,
    encode_request,
    frames_in,
    freeze_broadcast,
)
from meterline.errors import FrameError, Refused

# facts/protocols.md, B7: number of the row -> (address, identifier, request, answer, data behind the identifier)
PUBLISHED = {
    2: ("000000000161", "00010000", "68 61 01 00 00 00 00 68 11 04 33 33 34 33 14 16",
        "68 61 01 00 00 00 00 68 91 08 33 33 34 33 59 33 33 33 8A 16", "26 00 00 00"),
    3: ("000000000161", "02010100", "68 61 01 00 00 00 00 68 11 04 33 34 34 35 17 16",
        "68 61 01 00 00 00 00 68 91 06 33 34 34 35 34 43 10 16", "01 10"),
    4: ("000102030425", "00010000", "68 25 04 03 02 01 00 68 11 04 33 33 34 33 E1 16",
        "68 25 04 03 02 01 00 68 91 08 33 33 34 33 75 39 45 33 8B 16", "42 06 12 00"),
    5: ("002241020208", "04000402", "68 08 02 02 41 22 00 68 11 04 35 37 33 37 2A 16",
        "68 08 02 02 41 22 00 68 91 0A 35 37 33 37 3B 35 35 74 55 33 51 16", "08 02 02 41 22 00"),
    6: ("000000000001", "00010000", "68 01 00 00 00 00 00 68 11 04 33 33 34 33 B3 16",
        "68 01 00 00 00 00 00 68 91 08 33 33 34 33 59 B3 55 44 DC 16", "26 80 22 11"),
    7: ("000000000003", "B611", "68 03 00 00 00 00 00 68 01 02 44 E9 03 16",
        "68 03 00 00 00 00 00 68 81 04 44 E9 33 34 EC 16", "00 01"),
    8: ("138000130754", "9010", "68 54 07 13 00 80 13 68 01 02 43 C3 DA 16",
        "68 54 07 13 00 80 13 68 81 06 43 C3 34 33 33 33 2B 16", "01 00 00 00"),
    10: ("000000000001", "0201FF00", "68 01 00 00 00 00 00 68 11 04 33 32 34 35 B4 16",
         "68 01 00 00 00 00 00 68 91 0A 33 32 34 35 34 55 CC 54 48 55 80 16", "01 22 99 21 15 22"),
    11: ("000000000001", "02030000", "68 01 00 00 00 00 00 68 11 04 33 33 36 35 B7 16",
         "68 01 00 00 00 00 00 68 91 07 33 33 36 35 78 56 B4 BC 16", "45 23 81"),
    15: ("000000000001", "00010000", "68 01 00 00 00 00 00 68 11 04 33 33 34 33 B3 16",
         "68 01 00 00 00 00 00 68 91 08 33 33 34 33 32 32 32 32 FF 16", "FF FF FF FF"),
}  # fmt: skip


def asked(row: int) -> tuple[Dlt645Question, bytearray]:
    address, di, _, answer, _ = PUBLISHED[row]
    return Dlt645Question(ReadItem(address, di)), bytearray.fromhex(answer)


@pytest.mark.parametrize("row", PUBLISHED)
def test_a_request_is_what_was_published(row: int) -> None:
    assert asked(row)[0].request == bytes.fromhex(PUBLISHED[row][2])


@pytest.mark.parametrize("row", PUBLISHED)
@pytest.mark.parametrize("before", ["", "FE FE FE FE", "68 16 FE 00 68", "own request"])
def test_an_answer_is_found_behind_preamble_noise_or_echo(row: int, before: str) -> None:
    question, answer = asked(row)
    heard = bytearray(question.request if before == "own request" else bytes.fromhex(before)) + answer
    assert question.answer(heard) == bytes.fromhex(PUBLISHED[row][4])


@pytest.mark.parametrize("row", PUBLISHED)
def test_no_answer_is_taken_before_it_is_whole(row: int) -> None:
    question, answer = asked(row)
    for length in range(len(answer)):
        assert question.answer(answer[:length]) is None


@pytest.mark.parametrize("row", PUBLISHED)
def test_one_wrong_bit_anywhere_is_no_answer(row: int) -> None:
    question, answer = asked(row)
    for bit in range(8 * len(answer)):
        spoilt = bytearray(answer)
        spoilt[bit // 8] ^= 1 << bit % 8
        assert question.answer(spoilt) is None


def test_an_answer_of_another_meter_or_to_another_question_is_passed_over() -> None:
    question, own = asked(6)
    others = [bytearray.fromhex(PUBLISHED[row][3]) for row in (2, 4, 10, 11)]
    for other in others:
        assert question.answer(bytearray(other)) is None
        assert question.foreign(bytearray(other))
        assert question.answer(other + own) == bytes.fromhex("26 80 22 11")


@pytest.mark.parametrize("row", PUBLISHED)
def test_a_meter_that_leaves_out_the_33h_is_not_understood(row: int) -> None:
    """The data as they are, the sum right: another identifier then stands there."""
    question, answer = asked(row)
    bare = bytearray(answer)
    for place in range(10, len(bare) - 2):
        bare[place] = (bare[place] - 0x33) % 256
    bare[-2] = sum(bare[:-2]) % 256
    assert question.answer(bare) is None
    assert question.foreign(bare)


def test_whoever_is_alone_says_its_address() -> None:
    question = AddressQuestion(preamble=0)
    assert question.request == bytes.fromhex("68 AA AA AA AA AA AA 68 13 00 DF 16")
    answer = bytearray.fromhex("68 01 00 00 00 00 00 68 93 06 34 33 33 33 33 33 9D 16")
    assert question.answer(answer) == bytes.fromhex("01 00 00 00 00 00")


def test_a_refusal_names_its_reason() -> None:
    question = Dlt645Question(ReadItem("000000000001", "0001FF00"))
    with pytest.raises(Refused, match="no such data"):
        question.answer(bytearray.fromhex("68 01 00 00 00 00 00 68 D1 01 35 D8 16"))


def test_a_shortened_address_is_answered_by_the_whole_one() -> None:
    question = Dlt645Question(ReadItem("AAAAAAAAAA61", "00010000"))
    assert question.answer(bytearray.fromhex(PUBLISHED[2][3])) == bytes.fromhex("26 00 00 00")
    assert Dlt645Question(ReadItem("AAAAAAAAAA62", "00010000")).answer(bytearray.fromhex(PUBLISHED[2][3])) is None


def test_an_answer_that_goes_on_is_asked_for_frame_by_frame() -> None:
    question = Dlt645Question(ReadItem("000000000001", "0001FF00"))
    first = DLT645Protocol.build_frame(bytes.fromhex("010000000000"), 0xB1, bytes.fromhex("00FF0100 01020304"), 0)
    assert question.answer(bytearray(first)) == bytes.fromhex("01020304")
    rest = question.following()
    assert rest is not None
    # facts/protocols.md, B7 row 14 (of 0201FF00 there: the same frame but for identifier and sum)
    assert rest.request == DLT645Protocol.build_frame(
        bytes.fromhex("010000000000"), 0x12, bytes.fromhex("00FF010001"), 0
    )
    last = DLT645Protocol.build_frame(bytes.fromhex("010000000000"), 0x92, bytes.fromhex("00FF0100 0506 01"), 0)
    assert rest.answer(bytearray(last)) == bytes.fromhex("0506")
    assert rest.following() is None


def test_a_following_frame_out_of_turn_is_refused() -> None:
    rest = Dlt645Question(ReadItem("000000000001", "0001FF00", following=2))
    other = DLT645Protocol.build_frame(bytes.fromhex("010000000000"), 0x92, bytes.fromhex("00FF0100 0506 01"), 0)
    with pytest.raises(FrameError, match="following frame 01"):
        rest.answer(bytearray(other))


def test_the_1997_edition_goes_on_with_its_own_function() -> None:
    question = Dlt645Question(ReadItem("000000000003", "901F"))
    address = bytes.fromhex("030000000000")
    assert question.answer(DLT645Protocol.build_frame(address, 0xA1, bytes.fromhex("1F90 01020304"), 0)) is not None
    rest = question.following()
    assert rest is not None
    assert rest.request == DLT645Protocol.build_frame(address, 0x02, bytes.fromhex("1F90"), 0)
    assert rest.answer(DLT645Protocol.build_frame(address, 0x82, bytes.fromhex("1F90 0506"), 0)) == b"\x05\x06"


def test_broadcasts_are_what_was_published() -> None:
    """facts/protocols.md, B7 rows 12 and 13."""
    time = "68 99 99 99 99 99 99 68 08 06 89 67 45 39 38 57 71 16"
    assert clock_broadcast(20_240_506_123_456, preamble=0) == bytes.fromhex(time)
    now = "68 99 99 99 99 99 99 68 16 04 CC CC CC CC B0 16"
    assert freeze_broadcast("99999999", preamble=0) == bytes.fromhex(now)
    with pytest.raises(ValueError, match="MMDDhhmm"):
        freeze_broadcast("9999")


@given(st.integers(0, 255), st.binary(max_size=60))
def test_nothing_but_reading_can_be_asked(function: int, data: bytes) -> None:
    if function in FUNCTIONS and len(data) <= 50:
        assert decode_frame(encode_request("000000000001", function, data)) == ("000000000001", function, data)
    else:
        with pytest.raises(ValueError, match=r"none that reads|too many"):
            encode_request("000000000001", function, data)
    assert {0x01, 0x02, 0x11, 0x12, 0x13} == FUNCTIONS


@given(
    st.binary(min_size=6, max_size=6), st.integers(0, 255), st.binary(max_size=200), st.integers(0, 4),
    st.binary(max_size=12),
)  # fmt: skip
def test_frames_of_another_codec_are_found_and_read_alike(
    address: bytes, control: int, data: bytes, preamble: int, noise: bytes
) -> None:
    made = bytes(DLT645Protocol.build_frame(address, control, data, preamble))
    theirs = DLT645Protocol.deserialize(made)
    assert theirs is not None
    assert decode_frame(made) == (address[::-1].hex().upper(), theirs.ctrl_code, bytes(theirs.data))
    found = [frame for _, _, frame in frames_in(noise.replace(b"\x68", b"") + made + made)]
    assert found == [decode_frame(made)] * 2


@given(st.integers(-7_999_999, 79_999_999))
def test_packed_digits_of_another_codec(number: int) -> None:
    from dlt645.common.transform import string_to_bcd

    raw = bytes(string_to_bcd(f"{abs(number):08d}", "little"))
    if number < 0:
        raw = raw[:-1] + bytes((raw[-1] | 0x80,))
    assert digits(raw, signed=True) == number


@given(st.binary(min_size=1, max_size=6))
def test_what_is_no_digit_is_no_number(raw: bytes) -> None:
    number = digits(raw)
    assert (number is None) == any(byte & 0x0F > 9 or byte >> 4 > 9 for byte in raw)


def test_the_wildcard_is_an_address() -> None:
    assert decode_frame(encode_request(ANYBODY, 0x13)).address == ANYBODY
    with pytest.raises(ValueError, match="no DL/T 645 address"):
        encode_request("12345", 0x11)
