"""The Modbus codec against published frames, pymodbus and mutated frames."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pymodbus.framer.rtu import FramerRTU
from pymodbus.framer.socket import FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
)

from collector.protocols.modbus import Read, RtuQuestion, TcpQuestion, crc16, rtu_answers
from meterline.errors import FrameError, Refused
from meterline.profiles import Table

READS = st.builds(
    Read,
    unit=st.integers(1, 247),
    table=st.sampled_from(Table),
    address=st.integers(0, 0xFFFF - 125),
    count=st.integers(1, 125),
)
RTU, TCP = FramerRTU(DecodePDU(False)), FramerSocket(DecodePDU(False))


def response(read: Read, words: list[int]) -> ReadHoldingRegistersResponse | ReadInputRegistersResponse:
    kind = ReadHoldingRegistersResponse if read.table is Table.HOLDING else ReadInputRegistersResponse
    return kind(dev_id=read.unit, registers=words)


@pytest.mark.parametrize(
    ("frame", "read"),
    [
        # Acrel DTSD1352 manual, event record (facts/meters/acrel_dtsd1352.yaml)
        ("01 03 30 01 00 06 9B 08", Read(1, Table.HOLDING, 0x3001, 6)),
        # Jinhu electromagnetic water meter (facts/meters/electromagnetic_water_meter_example.yaml)
        ("01 03 00 00 00 02 C4 0B", Read(1, Table.HOLDING, 0, 2)),
    ],
)
def test_published_requests(frame: str, read: Read) -> None:
    assert RtuQuestion(read).request == bytes.fromhex(frame)


def test_published_answers() -> None:
    record = bytearray.fromhex("01 03 0C 12 01 08 0A 01 01 01 00 00 00 00 00 80 23")
    assert RtuQuestion(Read(1, Table.HOLDING, 0x3001, 6)).answer(record) == bytes(record[3:15])
    water = bytearray.fromhex("01 03 04 00 00 C1 48 AB 95")
    assert RtuQuestion(Read(1, Table.HOLDING, 0, 2)).answer(water) == bytes.fromhex("0000C148")


@given(READS, st.integers(0, 0xFFFF))
def test_requests_are_those_of_pymodbus(read: Read, tag: int) -> None:
    kind = ReadHoldingRegistersRequest if read.table is Table.HOLDING else ReadInputRegistersRequest
    theirs = kind(dev_id=read.unit, address=read.address, count=read.count, transaction_id=tag)
    assert RtuQuestion(read).request == RTU.buildFrame(theirs)
    assert TcpQuestion(read, tag).request == TCP.buildFrame(theirs)


@given(READS, st.data())
def test_answers_of_pymodbus_are_understood(read: Read, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=read.count, max_size=read.count))
    packed = struct.pack(f">{read.count}H", *words)
    theirs = response(read, words)
    noise = data.draw(st.binary(max_size=6))
    assert RtuQuestion(read).answer(bytearray(noise + RTU.buildFrame(theirs))) == packed
    theirs.transaction_id = 7
    stray = TCP.buildFrame(ExceptionResponse(3, exception_code=2, device_id=read.unit, transaction=6))
    received = bytearray(stray + TCP.buildFrame(theirs) + b"\0\1")
    assert TcpQuestion(read, 7).answer(received) == packed
    assert received == b"\0\1", "what follows the answer stays for the next question"


@given(READS, st.sampled_from([1, 2, 3, 4, 6, 10, 11]))
def test_refusals_of_pymodbus_are_understood(read: Read, code: int) -> None:
    theirs = ExceptionResponse(RtuQuestion(read).request[1], exception_code=code, device_id=read.unit, transaction=9)
    for question, frame in (
        (RtuQuestion(read), RTU.buildFrame(theirs)),
        (TcpQuestion(read, 9), TCP.buildFrame(theirs)),
    ):
        with pytest.raises(Refused) as caught:
            question.answer(bytearray(frame))
        assert caught.value.code == code


@given(READS, st.data())
def test_an_answer_in_any_pieces_is_complete_only_at_its_last_byte(read: Read, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=read.count, max_size=read.count))
    for question, frame in (
        (RtuQuestion(read), RTU.buildFrame(response(read, words))),
        (TcpQuestion(read, 0), TCP.buildFrame(response(read, words))),
    ):
        received = bytearray()
        for at, byte in enumerate(frame):
            received.append(byte)
            assert (question.answer(received) is not None) == (at == len(frame) - 1)


@given(READS, st.data())
def test_one_wrong_byte_is_never_accepted(read: Read, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=read.count, max_size=read.count))
    frame = bytearray(RTU.buildFrame(response(read, words)))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert RtuQuestion(read).answer(frame) is None
    except Refused:
        pytest.fail("a spoilt answer was taken for a refusal")


@given(READS, READS, st.data())
def test_an_answer_to_another_question_is_no_answer(read: Read, other: Read, data: st.DataObject) -> None:
    if (read.unit, read.table, read.count) == (other.unit, other.table, other.count):
        return_words = None  # the one pair a serial line cannot tell apart: the bus keeps silence instead
    else:
        return_words = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=other.count, max_size=other.count))
    if return_words is None:
        assert crc16(RTU.buildFrame(response(other, [0] * other.count))) == 0
        return
    frame = bytearray(RTU.buildFrame(response(other, return_words)))
    question = RtuQuestion(read)
    assert question.answer(frame) is None
    assert question.foreign(frame)


@given(READS, st.binary(max_size=300))
@example(Read(1, Table.INPUT, 0, 1), b"\0\0\0\0\0\0\0\0")
def test_any_bytes_at_all_crash_nothing(read: Read, noise: bytes) -> None:
    for question in (RtuQuestion(read), TcpQuestion(read, 1)):
        received = bytearray(noise)
        try:
            answer = question.answer(received)
        except (Refused, FrameError):
            continue
        if answer is not None:
            assert len(answer) == 2 * read.count
        question.foreign(received)
        question.echoed(received)


def test_a_stream_out_of_step_says_so() -> None:
    with pytest.raises(FrameError, match="no Modbus/TCP frame begins with"):
        TcpQuestion(Read(1, Table.INPUT, 0, 1), 1).answer(bytearray(b"HTTP/1.1 400 Bad"))


def test_neighbours_are_told_from_noise() -> None:
    frame = RTU.buildFrame(ReadHoldingRegistersResponse(dev_id=9, registers=[1, 2]))
    assert list(rtu_answers(frame + frame + b"\x55")) == [frame, frame]


@pytest.mark.parametrize(
    ("unit", "address", "count", "match"),
    [(256, 0, 1, "unit"), (1, 0, 126, "1 to 125"), (1, 0, 0, "1 to 125"), (1, 0xFFFF, 2, "outside")],
)
def test_what_no_frame_can_carry_is_refused(unit: int, address: int, count: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Read(unit, Table.INPUT, address, count)


def test_nobody_answers_a_broadcast() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        RtuQuestion(Read(0, Table.INPUT, 0, 1))
