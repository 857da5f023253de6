"""What can work on a line and what cannot: said before anything is opened, in both languages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from meterline.cli.texts import problem_text
from meterline.documents import Lines, validate
from meterline.errors import ConfigError, Problem
from meterline.lines import LineSettings, OwnLine, packet_bytes
from meterline.paths import profiles_dir
from meterline.profiles import load_profiles
from meterline.site import Bus, Site
from meterline.site_rules import site_problems

NAME = {"en": "x", "zh": "某"}
PROFILES = load_profiles(profiles_dir())
ITEMS, WORDS = "dlt645-2007-three-phase", "eastron-sdm630"
SERIAL = {"kind": "serial", "device": "/dev/serial/by-id/usb-FTDI-if00-port0"}
SERVER = {"kind": "rtu-over-tcp", "host": "192.0.2.7", "port": 4001}
OWN = {"line": {"baud": 2400, "parity": "E"}}
DOOR = {"kind": "tcp-listen", "port": 5020}


def problems(buses: list[dict[str, Any]], *meters: dict[str, Any]) -> list[Problem]:
    site = {
        "site": {"id": "works", "name": NAME},
        "energy_users": [{"id": "all", "name": NAME, "level": "organisation"}],
        "buses": [{"id": f"b{n}", "gateway": "gw", **bus} for n, bus in enumerate(buses)],
        "meters": [
            {"id": f"m{n}", "name": NAME, "energy_user": "all", "bus": "b0", "profile": WORDS, "address": str(n + 1)}
            | meter
            for n, meter in enumerate(meters)
        ],
    }
    try:
        return list(site_problems(validate(site, Site, "site.yaml"), PROFILES, "site.yaml", Lines()))
    except ConfigError as error:
        return list(error.problems)


ITEM_METER = {"profile": ITEMS, "address": "000012345678"}


@pytest.mark.parametrize(
    ("buses", "meters"),
    [
        ([SERIAL], [{}, ITEM_METER | OWN]),
        ([SERIAL | {"baud": 2400, "parity": "E"}], [ITEM_METER, {"line": {"baud": 9600, "parity": "N"}}]),
        ([{"kind": "rfc2217", "host": "192.0.2.7", "port": 4001}], [{}, ITEM_METER | OWN]),
        ([SERVER | {"baud": 2400, "parity": "E"}], [ITEM_METER | OWN]),
        ([DOOR], [{}, ITEM_METER]),
        ([DOOR | {"registration": "DTU-1"}, DOOR | {"registration": "DTU-2", "heartbeat": "hex:FE"}], []),
        ([DOOR | {"gateway": "gw"}, DOOR | {"gateway": "gw-2"}], []),
        ([SERIAL, SERIAL | {"gateway": "gw-2"}], []),
        ([DOOR | {"host": "192.0.2.1"}, DOOR | {"host": "192.0.2.2"}], []),
        ([{"kind": "serial", "device": "usb:0403:6001:A50285BI"}], []),
        ([{"kind": "modbus-tcp", "host": "192.0.2.7"}], [{"address": "0"}, {"address": "255"}]),
    ],
)
def test_what_can_work_is_let_through(buses: list[dict[str, Any]], meters: list[dict[str, Any]]) -> None:
    assert problems(buses, *meters) == []


@pytest.mark.parametrize(
    ("buses", "meters", "says", "hint", "chinese"),
    [
        ([SERVER], [OWN], "m0 wants 2400 8E1, but a rtu-over-tcp line stays", "kind: rfc2217", "m0 要求 2400 8E1"),
        ([DOOR], [OWN], "m0 wants 2400 8E1, but a tcp-listen line stays", "kind: rfc2217", "m0 要求 2400 8E1"),
        ([{"kind": "modbus-tcp", "host": "h"}], [OWN], "has no settings", "remove 'line'", "没有串口参数"),
        ([SERIAL], [ITEM_METER], "even parity and 1 stop bit, not 9600 8N1", "line: {baud: 2400", "偶校验"),
        ([SERIAL], [{"address": "0"}], "'0' is no Modbus address", '"1" to "247"', "不是 serial 线路上"),
        ([SERVER], [{"address": "248"}], "'248' is no Modbus address", '"1" to "247"', "不是 rtu-over-tcp 线路上"),
        ([SERIAL], [ITEM_METER | OWN | {"address": "9" * 12}], "broadcast address", "nameplate", "广播地址"),
        ([SERVER, SERVER | {"kind": "modbus-tcp"}], [], "b1 and b0 are the same line", "one entry", "是同一条线路"),
        ([SERIAL, SERIAL], [], "b1 and b0 are the same line", "one entry", "是同一条线路"),
        ([DOOR, DOOR], [], "one of them has no registration", "or its own port", "没有注册包"),
        (
            [DOOR | {"registration": "DTU-1"}, DOOR | {"registration": "hex:44 54 55 2D 31"}],
            [], "have one registration", "registration of its own", "注册包相同",
        ),
        (
            [DOOR | {"registration": "DTU-1"}, DOOR | {"registration": "DTU-10"}],
            [], "begin alike", "equally long", "开头相同",
        ),
        ([DOOR, DOOR | {"host": "192.0.2.1"}], [], "overlapping addresses", "different ports", "监听地址重叠"),
        ([{"kind": "tcp-listen"}], [], "needs 'port'", "the DTU dials in", "需要 'port'"),
        ([{"kind": "rfc2217", "host": "h"}], [], "needs 'port'", "telnet port", "需要 'port'"),
        ([SERVER | {"registration": "x"}], [], "belong to lines of kind: tcp-listen", "remove", "tcp-listen"),
        ([DOOR | {"registration": "hex:4"}], [], "are no bytes", "two hex digits", "不是字节"),
        ([DOOR | {"heartbeat": ""}], [], "the packet is empty", "what the device sends", "包为空"),
        ([{"kind": "modbus-tcp", "host": "h", "echo": True}], [], "'echo' belongs to serial lines", "remove", "'echo'"),
        ([{"kind": "serial", "device": "usb:0403"}], [], "names no USB adapter", "usb:VID:PID:SERIAL", "USB"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_in_words(
    buses: list[dict[str, Any]], meters: list[dict[str, Any]], says: str, hint: str, chinese: str
) -> None:
    (problem,) = problems(buses, *meters)
    assert says in problem.problem
    assert hint in problem.hint
    assert chinese in problem_text(problem.problem, "zh")
    assert problem_text(problem.hint, "zh") != problem.hint


def test_own_settings_stand_over_those_of_the_line() -> None:
    bus = LineSettings(19200, "N", 2)
    assert OwnLine().over(bus) == bus
    assert str(OwnLine(baud=2400, parity="E", stop_bits=1).over(bus)) == "2400 8E1"
    assert str(OwnLine(parity="E").over(bus)) == "19200 8E2"


def test_the_silence_between_frames() -> None:
    """Serial line guide 2.5.1.1: 3.5 characters of 11 bits, above 19200 baud 1.750 ms."""
    assert LineSettings(9600).silence_s == pytest.approx(0.004010, abs=1e-6)
    assert LineSettings(2400, "E").silence_s == pytest.approx(0.016042, abs=1e-6)
    assert LineSettings(19200).silence_s == pytest.approx(0.002005, abs=1e-6)
    assert LineSettings(115200).silence_s == 0.00175


def test_packets_as_text_or_bytes() -> None:
    assert packet_bytes("DTU-7\\r\\n") == b"DTU-7\r\n"
    assert packet_bytes("hex:fe FE 00") == b"\xfe\xfe\x00"
    assert packet_bytes("注册") == "注册".encode()


def test_every_piece_of_the_page_for_electricians_is_right() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "lines.md").read_text(encoding="utf-8")
    pieces = [yaml.safe_load(piece) for piece in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    kinds = {bus["kind"] for piece in pieces for bus in piece["buses"]}
    assert kinds == set(get_args(Bus.model_fields["kind"].annotation))
    for piece in pieces:
        site = {
            "site": {"id": "works", "name": NAME},
            "energy_users": [{"id": "works", "name": NAME, "level": "organisation"}],
            **piece,
        }
        assert not list(site_problems(validate(site, Site, "docs/lines.md"), PROFILES, "docs/lines.md", Lines()))
