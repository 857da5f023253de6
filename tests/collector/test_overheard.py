"""Bytes on a line are sorted into answers, other masters' requests and rubbish, whatever they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.overheard import Overheard, overhear
from tests.collector.peers import sealed

ANSWER = sealed(bytes.fromhex("11 03 02 00 2A"))
REFUSAL = sealed(bytes.fromhex("12 83 02"))
REQUEST = sealed(bytes.fromhex("05 03 00 00 00 02"))
ITEM = bytes.fromhex("FE FE 68 25 04 03 02 01 00 68 91 08 33 33 34 33 75 39 45 33 8B 16")  # facts B7, frame 4
ITEM_REQUEST = bytes.fromhex("68 25 04 03 02 01 00 68 11 04 33 33 34 33 E1 16")
PIECES = {
    ANSWER: Overheard(modbus=((0x11, 3),)),
    REFUSAL: Overheard(modbus=((0x12, 0x83),)),
    REQUEST: Overheard(requests=(REQUEST,)),
    ITEM: Overheard(items=("000102030425",)),
    ITEM_REQUEST: Overheard(requests=(ITEM_REQUEST,)),
}


def test_each_kind_is_known() -> None:
    for raw, expected in PIECES.items():
        assert overhear(raw) == expected


@given(st.lists(st.sampled_from(sorted(PIECES)), max_size=6))
def test_frames_one_after_another_are_all_heard(pieces: list[bytes]) -> None:
    what = overhear(b"".join(pieces))
    assert what.rest == 0
    assert what.modbus == tuple(m for piece in pieces for m in PIECES[piece].modbus)
    assert what.items == tuple(i for piece in pieces for i in PIECES[piece].items)
    assert sorted(what.requests) == sorted(r for piece in pieces for r in PIECES[piece].requests)


@given(st.sampled_from(sorted(PIECES)), st.data())
def test_one_wrong_byte_makes_rubbish_of_a_frame(raw: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(raw.find(0x68) if 0x68 in raw else 0, len(raw) - 1))
    spoilt = bytearray(raw)
    spoilt[at] ^= data.draw(st.integers(1, 255))
    what = overhear(bytes(spoilt))
    assert what.rest > 0
    assert not what.modbus
    assert not what.items


@given(st.binary(max_size=300))
def test_no_bytes_break_it_and_none_is_lost(raw: bytes) -> None:
    what = overhear(raw)
    assert 0 <= what.rest <= len(raw)
    assert what.silent == (not raw.strip(b"\xfe"))


def test_our_own_echo_is_not_another_master() -> None:
    assert overhear(REQUEST + ANSWER, REQUEST) == PIECES[ANSWER]
