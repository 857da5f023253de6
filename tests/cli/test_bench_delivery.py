"""What ``bench delivery`` measures with: the readings are the recording's, the line is as slow as it says."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline.cli.bench_delivery import _link, _wire
from meterline.cli.bench_delivery_runs import SlowLine
from meterline.cli.bench_delivery_values import Meters, as_float32, batches_of, read_recording
from meterline.errors import ConfigError


def recording(folder: Path, name: str = "meter.csv.gz") -> Path:
    rows = [f"2026-01-01T00:{n:02d},{230.1 + n / 10:.1f},{1000 + n}.25,ok" for n in range(30)]
    path = folder / name
    path.write_bytes(gzip.compress("\n".join(["time,v1,e_imp_kwh,state", *rows]).encode()))
    return path


def test_the_numbers_are_the_recordings(tmp_path: Path) -> None:
    found = read_recording(recording(tmp_path))
    assert (found.columns, found.decimals) == (("v1", "e_imp_kwh"), (1, 2))
    (poll,) = Meters([found]).polls(3, 0)
    assert poll.numbers == (2304, 100325)
    assert [column.exponent for column in poll.shape.columns] == [-1, -2]
    (poll,) = Meters([found], floats=True).polls(3, 0)
    assert [struct.unpack(">f", struct.pack(">f", n))[0] for n in poll.numbers] == pytest.approx([230.4, 1003.25], 1e-3)


def test_more_meters_and_points_than_files(tmp_path: Path) -> None:
    meters = Meters([read_recording(recording(tmp_path))], count=32, points=20)
    polls = meters.polls(0, 0, frames=True)
    assert len({poll.meter for poll in polls}) == 32
    assert {len(poll.numbers) for poll in polls} == {20}
    assert all(len(poll.exchanges[0].response) == 3 + 4 * 20 + 2 for poll in polls)


def test_a_file_without_numbers_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,unit\nx,y\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.csv.*no column of numbers"):
        read_recording(tmp_path / "a.csv")
    (tmp_path / "b.gz").write_bytes(b"no gzip")
    with pytest.raises(ConfigError, match=r"b\.gz"):
        read_recording(tmp_path / "b.gz")


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_is_the_shortest_decimal_that_reads_back(value: float) -> None:
    short = as_float32(value)
    assert struct.pack(">f", short) == struct.pack(">f", value)
    assert len(f"{short!r}".replace("-", "").replace(".", "").split("e")[0].strip("0")) <= 9


@pytest.mark.parametrize("size", [500, 20])
def test_batches_have_the_size_they_are_named_by(size: int) -> None:
    sizes = [
        sum(len(poll.numbers) for poll in polls) for _, polls in batches_of(Meters((), count=32, points=20), size, 20)
    ]
    assert sizes == [size] * 20


def test_the_wire_is_measured_with_and_without_a_recording(tmp_path: Path) -> None:
    for recordings in ((), (read_recording(recording(tmp_path)),)):
        figures = {figure.name: figure.value for figure in _wire(recordings)}
        assert len(figures) == 4
        for kind in ("decimal", "float32"):
            many, few = (figures[f"wire, {kind} meters, {size} readings a batch"] for size in (500, 20))
            assert 0.5 < many < few < 100


@pytest.mark.slow
def test_a_slow_line_is_slow_and_loses_nothing() -> None:
    got = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as door:
        line = SlowLine(door.getsockname()[1], 100_000)

        def take() -> None:
            connection, _ = door.accept()
            with connection:
                while data := connection.recv(4096):
                    got.extend(data)

        taker = threading.Thread(target=take)
        taker.start()
        sent = bytes(range(256)) * 400
        began_s = time.monotonic()
        with socket.create_connection(("127.0.0.1", line.port)) as near:
            near.sendall(sent)
        taker.join(10)
        took_s = time.monotonic() - began_s
        line.close()
    assert bytes(got) == sent
    assert line.upward == len(sent)
    assert took_s > 0.8 * len(sent) / 100_000


@pytest.mark.slow
@pytest.mark.needs_mosquitto
def test_a_backlog_over_a_slow_line_is_measured(tmp_path: Path) -> None:
    figures = {figure.name: figure for figure in _link(tmp_path, (), 512, 2.0)}
    (month,) = (figure for name, figure in figures.items() if name.startswith("month's backlog"))
    assert "extrapolated from" in month.name
    assert month.limit is not None
    assert month.value >= 0.9 * month.limit, "no faster than its bytes can pass"
    assert figures["over 512 kbit/s: live reading to store, longest"].value < 120
