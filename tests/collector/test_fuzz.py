"""Mutated frames in great number: no decoder crashes or hangs, and none takes for an answer what is none.

``METERLINE_FUZZ_FRAMES`` sets how many frames are tried (100 000 unless said otherwise; `make soak` tries ten times as
many). What a decoder accepts is judged by another implementation: pymodbus's checksum, the ``dlt645``
package's parser, and for CJ/T 188 and M-Bus a check written here from the standard. A sum of bytes cannot tell two
faults that cancel out; the judges cannot either, so such a frame is a valid one, not a forgery.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import pytest
from dlt645 import DLT645Protocol
from pymodbus.framer.rtu import FramerRTU

from collector.bus import Question
from collector.dialects import AnyDialect, dialect_of
from collector.protocols.cjt188 import Cjt188Question, ReadData
from collector.protocols.dlt645 import AddressQuestion, Dlt645Question, ReadItem
from collector.protocols.dlt645_records import load_records
from collector.protocols.mbus import REQUESTS, AskForData, MbusQuestion
from collector.protocols.modbus import Read, RtuQuestion, TcpQuestion
from collector.requests import Piece
from meterline.errors import FrameError, Refused
from meterline.profiles import Table
from meterline.readings import Number
from tests.collector.sites import SHIPPED
from tests.collector.test_golden_profiles import golden

FRAMES = int(os.environ.get("METERLINE_FUZZ_FRAMES", "100000"))
PIECES = max(2, FRAMES // 100_000)
"""Parts of a protocol's campaign, so that a run may spread them and a failure names its seed."""
Judge = Callable[[bytes, Question], list[bytes]]


@dataclass(frozen=True)
class Target:
    """One decoder under fire.

    Attributes
    ----------
    ask
        Makes the question anew.
    answers
        Good answers, by others, to begin from.
    judge
        Every payload that anybody may take out of these bytes as this question's answer.
    decode
        What is done with a payload.
    """

    ask: Callable[[], Question]
    answers: tuple[bytes, ...]
    judge: Judge
    decode: Callable[[bytes], object]


def whole(dialect: AnyDialect, block: Piece | None = None) -> Callable[[bytes], object]:
    """Takes a payload apart as the poller does; a number is an int or a finite float, or there is a reason why not."""
    plan = dialect.plan()
    block = block or plan.blocks[0]
    decoder = dialect.decoder(block, plan.points)

    def decode(payload: bytes) -> None:
        numbers: list[Number | None] = [None] * len(plan.points)
        qualities = [0] * len(plan.points)
        decoder.into(payload, numbers, qualities)
        for item in block.items:
            assert (numbers[item.column] is None) == bool(qualities[item.column])
            assert numbers[item.column] is None or abs(numbers[item.column] or 0) < 1e40

    return decode


# --- Modbus ----------------------------------------------------------------------------------------------------------

READ = Read(7, Table.HOLDING, 0x20, 4)


def rtu(body: str) -> bytes:
    raw = bytes.fromhex(body)
    return raw + FramerRTU.compute_CRC(raw).to_bytes(2, "big")


def rtu_judge(received: bytes, question: Question) -> list[bytes]:
    return [
        received[at + 3 : at + 11]
        for at in range(len(received) - 12)
        if received[at : at + 3] == b"\x07\x03\x08"
        and FramerRTU.check_CRC(received[at : at + 11], int.from_bytes(received[at + 11 : at + 13], "big"))
    ]


def tcp_judge(received: bytes, question: Question) -> list[bytes]:
    found, at = [], 0
    while at + 8 <= len(received):
        end = at + 6 + int.from_bytes(received[at + 4 : at + 6], "big")
        frame = received[at:end]
        if frame[:4] == b"\x12\x34\0\0" and frame[6:9] == b"\x07\x03\x08" and len(frame) == 17 and end <= len(received):
            found.append(frame[9:])
        at = end
    return found


# --- DL/T 645 --------------------------------------------------------------------------------------------------------

ITEMS = dialect_of(SHIPPED["dlt645-2007-three-phase"], "000000000001")
BLOCK = next(block for block in ITEMS.plan().blocks if block.place == "0001FF00")


def dlt(control: int, data: str) -> bytes:
    return bytes(DLT645Protocol.build_frame(bytes.fromhex("010000000000"), control, bytes.fromhex(data), 4))


def dlt_frames(received: bytes) -> list[tuple[str, int, bytes]]:
    """Every frame the package finds, beginning at any byte (it stops for more bytes where we look further)."""
    found = []
    for at in range(len(received) - 11):
        if received[at] == received[at + 7] == 0x68:
            try:
                frame = DLT645Protocol.deserialize(received[at : at + 12 + received[at + 9]])
            except ValueError:
                continue
            assert frame is not None
            if frame.data_len == received[at + 9] and received[at : at + 1] == b"\x68":
                found.append((frame.addr[::-1].hex().upper(), frame.ctrl_code, bytes(frame.data)))
    return found


def dlt_judge(received: bytes, question: Question) -> list[bytes]:
    return [
        data[4:]
        for address, control, data in dlt_frames(received)
        if address == "000000000001" and control & ~0x20 == 0x91 and data[:4] == bytes.fromhex("00FF0100")
    ]


def address_judge(received: bytes, question: Question) -> list[bytes]:
    return [data for address, control, data in dlt_frames(received) if control == 0x93 and data[::-1].hex() == address]


# --- CJ/T 188, M-Bus -------------------------------------------------------------------------------------------------


def cjt_judge(received: bytes, question: Question) -> list[bytes]:
    head = bytes.fromhex("68 10 44 33 22 11 00 33 78 81")
    return [
        received[at + 11 : at + 11 + received[at + 10]]
        for at in range(len(received) - 12)
        if received[at : at + 10] == head
        and received[at + 11 : at + 14] == b"\x1f\x90\0"
        and received[at + 12 + received[at + 10] : at + 13 + received[at + 10]] == b"\x16"
        and sum(received[at : at + 11 + received[at + 10]]) % 256 == received[at + 11 + received[at + 10]]
    ]


def mbus_judge(received: bytes, question: Question) -> list[bytes]:
    found = []
    for at in range(len(received) - 8):
        size = received[at + 1]
        body, rest = received[at + 4 : at + 4 + size], received[at + 4 + size :]
        if (
            received[at : at + 1] == b"\x68" == received[at + 3 : at + 4]
            and received[at + 2] == size == len(body)
            and rest[1:2] == b"\x16"
            and sum(body) % 256 == rest[0]
            and body[1] == 2
            and body[0] in (0x08, 0x18, 0x28, 0x38)
        ):
            header = {0x72: 12, 0x7A: 4, 0x78: 0}.get(body[2])
            if header is not None:
                found.append(body[3 : 3 + header].rjust(12, b"\xff") + body[3 + header :])
    return found


MBUS = bytes.fromhex(golden("mbus-water")["cases"][0]["frames"][0])
TARGETS = {
    "rtu": Target(
        lambda: RtuQuestion(READ),
        (rtu("07 03 08 00 01 E2 40 41 CC 00 00"), rtu("07 83 02"), rtu("08 03 08 00 01 E2 40 41 CC 00 00")),
        rtu_judge, len,
    ),
    "tcp": Target(
        lambda: TcpQuestion(READ, 0x1234),
        (bytes.fromhex("12 34 00 00 00 0B 07 03 08 00 01 E2 40 41 CC 00 00"),
         bytes.fromhex("12 34 00 00 00 03 07 83 02")),
        tcp_judge, len,
    ),
    "dlt645": Target(
        lambda: Dlt645Question(ReadItem("000000000001", "0001FF00", 20)),
        (dlt(0x91, "00FF0100 78563412 01000100 02000300 25000500 50643300"), dlt(0xD1, "02"),
         dlt(0xB1, "00FF0100 78563412 01000100"), dlt(0x91, "00000100 78563412")),
        dlt_judge, whole(ITEMS, BLOCK),
    ),
    "dlt645-address": Target(
        AddressQuestion, (dlt(0x93, "010000000000"),), address_judge, len,
    ),
    "cjt188": Target(
        lambda: Cjt188Question(ReadData(0x10, "78330011223344")),
        (bytes.fromhex(golden("cjt188-water")["cases"][0]["frames"][0]),),
        cjt_judge, whole(dialect_of(SHIPPED["cjt188-water"], "78330011223344")),
    ),
    "mbus": Target(
        lambda: MbusQuestion(AskForData(2), cycle(REQUESTS)), (MBUS,),
        mbus_judge, whole(dialect_of(SHIPPED["mbus-water"], "2")),
    ),
}  # fmt: skip


def spoilt(answers: tuple[bytes, ...], dice: random.Random) -> bytes:
    """One thing after another that a bad line, or somebody who means harm, does to frames."""
    raw = bytearray(dice.choice(answers))
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(raw)) if raw else 0
        match dice.randrange(9):
            case 0 if raw:
                raw[at] ^= 1 << dice.randrange(8)
            case 1 if raw:
                raw[at] = dice.randrange(256)
            case 2:
                raw[at:at] = dice.randbytes(dice.randint(1, 6))
            case 3:
                del raw[at : at + dice.randint(1, 5)]
            case 4:
                raw = raw[:at]
            case 5:
                raw += dice.choice(answers)
            case 6 if len(raw) > 1:  # two faults that cancel out in a sum
                other = dice.randrange(len(raw))
                raw[at], raw[other] = (raw[at] + 1) % 256, (raw[other] - 1) % 256
            case 7:
                raw[at:at] = dice.choice(answers)[: dice.randint(1, 40)]
            case _:
                raw = bytearray(dice.randbytes(dice.randint(0, 60)))
    return bytes(raw)


@pytest.mark.parametrize("piece", range(PIECES))
@pytest.mark.parametrize("name", TARGETS)
def test_no_mutated_frame_crashes_or_is_taken_for_an_answer(name: str, piece: int) -> None:
    target, dice = TARGETS[name], random.Random(f"{name} {piece}")
    accepted = refused = 0
    for _ in range(FRAMES // len(TARGETS) // PIECES):
        raw = spoilt(target.answers, dice)
        question = target.ask()
        received = bytearray()
        cuts = sorted(dice.choices(range(len(raw) + 1), k=dice.randint(0, 2)))
        for start, end in zip((0, *cuts), (*cuts, len(raw)), strict=True):  # as it arrives
            received += raw[start:end]
            try:
                payload = question.answer(received)
            except (Refused, FrameError):
                refused += 1
                break
            if payload is not None:
                accepted += 1
                assert payload in target.judge(raw, question), f"{name}: {raw.hex(' ')}"
                target.decode(payload)
                break
        question.foreign(bytearray(raw))
        question.echoed(bytearray(raw))
    assert accepted, "some mutations leave a good answer whole: it must still be found"
    assert accepted + refused < FRAMES


@pytest.mark.parametrize("piece", range(PIECES))
def test_mutated_load_records_are_refused_or_right(piece: int) -> None:
    """A record has a sum of its own, inside a frame that has one, too."""
    body = bytes.fromhex("30 10 18 05 26 AA AA AA 78 45 12 00 05 17 00 00 01 00 00 00 02 00 00 00 AA AA AA")
    head = b"\xa0\xa0" + bytes((len(body),)) + body
    good = head + bytes((sum(head) % 256, 0xE5))
    dice, kept = random.Random(piece), 0
    for _ in range(FRAMES // 10 // PIECES):
        raw = spoilt((good, good + good), dice)
        try:
            records = list(load_records(raw))
        except FrameError:
            continue
        for record in records:
            kept += 1
            assert all(energy is None or 0 <= energy < 10**8 for energy in record.energies())
    assert kept
