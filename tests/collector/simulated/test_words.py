"""The factory's encoder against vectors that are not ours."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin

from collector.simulated.words import bounds, kept, words_of, written
from meterline.profiles import DataType, Order


@pytest.mark.parametrize(
    ("kind", "order", "number", "words"),
    [
        # vendor frame 01 03 04 00 00 C1 48: low word first, -12.5 (facts: electromagnetic_water_meter_example)
        ("float32", "CDAB", -12.5, (0x0000, 0xC148)),
        # gas corrector, payload 1228 5686 4222 (facts: gas_corrector_fuxin)
        ("bcd48", "ABCD", 122856864222, (0x1228, 0x5686, 0x4222)),
        # IEEE 754: 1.0 and -2.0 in double precision
        ("float64", "ABCD", 1.0, (0x3FF0, 0, 0, 0)),
        ("float64", "DCBA", -2.0, (0, 0, 0, 0x00C0)),
        # the four orders of 0x0A0B0C0D, as the Modbus world names them
        ("uint32", "ABCD", 0x0A0B0C0D, (0x0A0B, 0x0C0D)),
        ("uint32", "CDAB", 0x0A0B0C0D, (0x0C0D, 0x0A0B)),
        ("uint32", "BADC", 0x0A0B0C0D, (0x0B0A, 0x0D0C)),
        ("uint32", "DCBA", 0x0A0B0C0D, (0x0D0C, 0x0B0A)),
        ("int16", "ABCD", -2, (0xFFFE,)),
        ("bcd16", "ABCD", 42, (0x0042,)),
    ],
)
def test_published_and_constructed_words(kind: DataType, order: Order, number: float, words: tuple[int, ...]) -> None:
    assert words_of(kind, order, number) == words


PYMODBUS = {
    "uint16": ModbusClientMixin.DATATYPE.UINT16, "int16": ModbusClientMixin.DATATYPE.INT16,
    "uint32": ModbusClientMixin.DATATYPE.UINT32, "int32": ModbusClientMixin.DATATYPE.INT32,
    "uint64": ModbusClientMixin.DATATYPE.UINT64, "int64": ModbusClientMixin.DATATYPE.INT64,
}  # fmt: skip


@given(st.sampled_from(sorted(PYMODBUS)), st.sampled_from(["big", "little"]), st.data())
def test_pymodbus_reads_back_every_integer(kind: DataType, words_first: str, data: st.DataObject) -> None:
    number = data.draw(st.integers(*bounds(kind)))
    words = list(words_of(kind, "ABCD" if words_first == "big" else "CDAB", number))
    back = ModbusClientMixin.convert_from_registers(words, PYMODBUS[kind], word_order=words_first)  # type: ignore[arg-type]
    assert back == number


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_is_written_with_digits_that_mean_it_and_no_fewer(number: float) -> None:
    short = written("float32", number)
    assert kept("float32", float(short)) == number
    assert len(repr(float(f"{short:.9g}"))) <= len(repr(number)) or short == number


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="65536 does not fit uint16"):
        words_of("uint16", "ABCD", 65536)
    with pytest.raises(ValueError, match="100000000 does not fit bcd32"):
        words_of("bcd32", "ABCD", 100_000_000)
    assert kept("float32", 1e39) == float("inf")
    assert struct.pack(">f", kept("float32", 230.1)).hex() == "4366199a"  # IEEE 754 by numpy.float32
