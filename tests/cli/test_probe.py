"""`probe` on libmodbus's words and on the simulated factory's items."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import Result
from tests.servers.modbus import MeterFactory

Cli = Callable[..., Result]


@pytest.fixture
def meter(libmodbus_meter: MeterFactory) -> str:
    """Holding words 0: 230.5 as float CDAB; 10: 12345 as uint32; input words 4: 4998."""
    low = struct.unpack(">HH", struct.pack(">f", 230.5))[::-1]
    holding = dict(zip((0, 1), low, strict=True)) | {2: 0, 3: 0, 10: 0, 11: 12345}
    return libmodbus_meter({1: {"holding": holding, "input": {20: 4998}}}).where


@pytest.mark.needs_libmodbus
def test_a_word_order_is_marked(cli: Cli, meter: str) -> None:
    result = cli("probe", f"modbus-tcp://{meter}", "0", "--as", "voltage.l1n")
    assert result.code == 0, result.err
    assert "float32 CDAB = 230.5 V (voltage L1-N)" in result.out
    assert "- {measurand: voltage.l1n, table: holding, at: 0x0000, type: float32, order: CDAB, unit: V}" in result.out


@pytest.mark.needs_libmodbus
def test_what_the_display_shows_names_the_scale(cli: Cli, meter: str) -> None:
    fits = cli("probe", f"modbus-tcp://{meter}", "0x0A", "--shows", "123.45", "--words", "2", "--json").json["fits"]
    assert fits[0] == {"type": "uint32", "order": "ABCD", "exponent": -2, "value": "123.45", "measurand": ""}


@pytest.mark.needs_libmodbus
def test_the_other_table_is_tried_and_fewer_words_are_enough(cli: Cli, meter: str) -> None:
    result = cli("probe", f"modbus-tcp://{meter}", "20", "--as", "frequency")
    assert "holding: nothing there (error 02)" in result.out
    assert "uint16 ABCD × 0.01 = 49.98 Hz" in result.out


@pytest.mark.needs_libmodbus
def test_nothing_there_is_said_with_what_to_try(cli: Cli, meter: str) -> None:
    result = cli("probe", f"modbus-tcp://{meter}", "3000")
    assert result.code == 3
    assert "count from 1" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("m-main", "0x1FFFF"), "outside the table"),
        (("m-main", "volts"), "is no address"),
        (("m-main", "0", "--as", "voltage.l1"), "did you mean 'voltage.l"),
        (("m-main", "0", "--shows", "12,5"), "is no number"),
        (("modbus-tcp://127.0.0.1:9", "0", "--unit", "300"), "is no address"),
        (("rtu-over-tcp://127.0.0.1:9", "0201", "--unit", "22064153770X"), "is no address"),
        (("m-mian", "0"), "no bus 'm-mian'"),
    ],
)
def test_wrong_wishes_are_refused(cli: Cli, site_folder: Path, arguments: tuple[str, ...], said: str) -> None:
    result = cli("probe", *arguments)
    assert result.code == 2, result.out
    assert said in result.err
