"""Frames in words, in both languages."""

from __future__ import annotations

import pytest

from collector import describe
from collector.describe import parse_request
from collector.protocols.modbus import Read
from meterline.profiles import Table
from meterline.readings import Exchange
from tests.collector.peers import sealed
from tests.collector.sites import SHIPPED

VOLTS = sealed(bytes.fromhex("01 04 0000 0004"))
ANSWER = sealed(bytes.fromhex("01 04 08 4366199A 4365DEB8"))  # 230.1 V, 229.87 V by struct


def exchange(request: bytes, response: bytes = b"", cause: str = "") -> Exchange:
    return Exchange(request, response, 0, None if cause == "silent" else 1, cause)


def test_a_read_and_its_answer() -> None:
    asked, answered = describe("serial", exchange(VOLTS, ANSWER), SHIPPED["eastron-sdm630"])
    assert asked == "unit 1, function 04: 4 words of the input table from 0x0000 (voltage.l1n, voltage.l2n)"
    assert answered == "voltage.l1n 230.1 V, voltage.l2n 229.87 V"


def test_without_a_profile_words_are_shown() -> None:
    assert describe("serial", exchange(VOLTS, ANSWER))[1] == "words 4366 199a 4365 deb8"


def test_a_tcp_frame() -> None:
    request = bytes.fromhex("0007 0000 0006 02 03 0321 0010")
    response = bytes.fromhex("0007 0000 0003 02 83 0B")
    asked, answered = describe("modbus-tcp", exchange(request, response, "refused:0b"), SHIPPED["siemens-pac3200"])
    assert asked.startswith("unit 2, function 03: 16 words of the holding table from 0x0321 (energy.active.import,")
    assert answered == "error 0B: the meter did not answer the gateway"


@pytest.mark.parametrize(
    ("response", "cause", "says"),
    [
        (b"", "silent", "no answer"),
        (ANSWER[:-1] + b"\0", "garbled", "13 bytes, but no valid frame: checksum or length wrong"),
        (sealed(b"\x09" + ANSWER[1:-2]), "silent", "13 bytes that answer something else"),
        (sealed(bytes.fromhex("01 84 02")), "refused:02", "error 02: illegal data address"),
    ],
)
def test_what_went_wrong(response: bytes, cause: str, says: str) -> None:
    assert describe("serial", exchange(VOLTS, response, cause))[1] == says


def test_what_nobody_asked_for() -> None:
    assert describe("serial", exchange(b"", ANSWER, "late")) == (
        "", "13 bytes nobody asked for (a late answer, or another master)",
    )  # fmt: skip
    assert describe("serial", exchange(b"", b"", "line-down")) == ("", "the line is down")


def test_chinese() -> None:
    asked, answered = describe(
        "serial", exchange(VOLTS, sealed(bytes.fromhex("01 84 02")), "refused:02"), language="zh"
    )
    assert asked == "地址 1，功能码 04：读 输入寄存器 0x0000 起 4 个字"
    assert answered == "异常码 02：非法数据地址"


@pytest.mark.parametrize("frame", ["", "01", "01 06 0000 0001 48 0A", "01 04 0000 0000 f1 ca", "ff" * 8])
def test_what_is_no_read_request(frame: str) -> None:
    assert parse_request("serial", bytes.fromhex(frame)) is None
    assert parse_request("serial", VOLTS) == Read(1, Table.INPUT, 0, 4)
    assert describe("serial", exchange(bytes.fromhex(frame) or b"?"))[0] == "a frame of no known kind"


def test_a_water_meters_frames_in_words() -> None:
    """facts/protocols.md, chapter C, frames 1 and 2 (with the sum 13)."""
    asked = bytes.fromhex("68 10 44 33 22 11 00 33 78 01 03 1F 90 00 80 16")
    came = "68 10 44 33 22 11 00 33 78 81 16 1F 90 00 00 77 66 55 2C 00 77 66 55 2C 31 01 22 11 05 15 20 21 84 13 16"
    told = describe("serial", Exchange(asked, bytes.fromhex(came), 0, 1), SHIPPED["cjt188-water"])
    assert told[0] == "meter 78330011223344, type 10: read 901F"
    assert told[1] == "volume 556677 m³, clock.time 220131, clock.date 20150511, status.meter 33825"
    assert describe("serial", Exchange(asked, b"", 0, None, "silent"), None, "zh")[1] == "无应答"
    wrong = bytes.fromhex(came.replace("13 16", "08 16"))
    assert describe("serial", Exchange(asked, wrong, 0, 1), None)[1].startswith("35 bytes, but no valid frame")


def test_an_mbus_meters_frames_in_words() -> None:
    """facts/protocols.md, B9."""
    came = (
        "68 1F 1F 68 08 02 72 78 56 34 12 24 40 01 07 55 00 00 00 03 13 15 31 00 DA 02 3B 13 01 8B 60 04 37 18 02 18 16"
    )
    exchange = Exchange(bytes.fromhex("10 7B 02 7D 16"), bytes.fromhex(came), 0, 1)
    told = describe("serial", exchange, SHIPPED["mbus-water"])
    assert told == (
        "M-Bus meter 2: what are your data?", "volume 12.565 m³, identity.number 12345678, status.meter 0"
    )  # fmt: skip


def test_a_broadcast_in_words() -> None:
    """facts/protocols.md, B7 row 12."""
    frame = bytes.fromhex("68 99 99 99 99 99 99 68 08 06 89 67 45 39 38 57 71 16")
    told = describe("serial", Exchange(frame, b"", 0, None, "broadcast"))
    assert told == ("all meters: it is 240506123456 (YYMMDDhhmmss)", "nobody answers a broadcast")
