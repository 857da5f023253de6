"""Commands on the box ask the running gateway: whole polls back, errors in words, nothing but reading."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from gateway_firmware_py.hatch import NAME, Hatch, ask_gateway, poll_from_json, poll_to_json
from meterline.errors import BusError, Garbled, LineDown, Refused, Silent, Unreachable
from meterline.readings import ClockState, Column, Exchange, Poll, Shape, Source

T = TypeVar("T")
POLL = Poll(
    "press-1",
    Shape(
        "p@1",
        (Column("energy.active.import", -2), Column("voltage.l1n", 0, True, 1), Column("frequency", -2, False, 1)),
    ),
    1_700_000_100_123_456_789,
    (12, 34),
    ClockState.SIMULATED,
    (2**63 + 1, 0.1, None),
    (0, 0, 1),
    Source.WIRE,
    (Exchange(b"\x01\x03", b"\xff\x00", 1, 2), Exchange(b"\x01\x04", b"", 3, None, "silent")),
)  # fmt: skip


class Reader:
    """A line's owner with one answer."""

    def __init__(self, answer: Poll | BusError) -> None:
        self.answer, self.asked = answer, list[str]()

    async def read_now(self, meter: str) -> Poll:
        self.asked.append(meter)
        if isinstance(self.answer, BusError):
            raise self.answer
        return self.answer


def with_hatch(folder: Path, answer: Poll | BusError, use: Callable[[], T]) -> tuple[T, Reader]:
    reader = Reader(answer)

    async def scenario() -> T:
        serving = asyncio.create_task(Hatch(folder, {"press-1": reader}).run())
        end = asyncio.get_running_loop().time() + 5
        while not (folder / NAME).exists() or stat.S_IMODE((folder / NAME).stat().st_mode) != 0o660:
            assert asyncio.get_running_loop().time() < end
            assert not serving.done(), serving
            await asyncio.sleep(0.001)
        try:
            return await asyncio.to_thread(use)
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    return asyncio.run(scenario()), reader


def test_a_poll_survives_the_way() -> None:
    assert poll_from_json(json.loads(json.dumps(poll_to_json(POLL)))) == POLL


def test_the_gateway_reads_and_the_whole_poll_comes_back(tmp_path: Path) -> None:
    poll, reader = with_hatch(tmp_path, POLL, lambda: ask_gateway(tmp_path, "press-1"))
    assert poll == POLL
    assert reader.asked == ["press-1"]
    assert not (tmp_path / NAME).exists(), "the socket goes with the gateway"


@pytest.mark.parametrize(
    "error", [Silent("no answer within 0.5 s; check power"), Garbled("noise"), LineDown("no port; plug it in"),
              Refused(2, "illegal data address")],
)  # fmt: skip
def test_what_went_wrong_comes_back_as_what_it_was(tmp_path: Path, error: BusError) -> None:
    def use() -> BusError:
        with pytest.raises(type(error)) as caught:
            ask_gateway(tmp_path, "press-1")
        return caught.value

    came, _ = with_hatch(tmp_path, error, use)
    assert str(came) == str(error)
    assert came.cause == error.cause


def test_a_meter_it_does_not_know(tmp_path: Path) -> None:
    def use() -> str:
        with pytest.raises(BusError) as caught:
            ask_gateway(tmp_path, "press-2")
        return str(caught.value)

    said, _ = with_hatch(tmp_path, POLL, use)
    assert said == "the running gateway knows no meter 'press-2'; restart it if the site file has changed"


@pytest.mark.parametrize("nonsense", [b"hello\n", b'{"write": "press-1"}\n', b"[]\n", b"\n", b"x" * 10_000])
def test_nonsense_is_answered_or_dropped_and_reads_nothing(tmp_path: Path, nonsense: bytes) -> None:
    def use() -> bytes:
        with socket.socket(socket.AF_UNIX) as knock:
            knock.settimeout(5)
            knock.connect(str(tmp_path / NAME))
            knock.sendall(nonsense)
            try:
                return knock.recv(1000)
            except ConnectionResetError:
                return b""

    said, reader = with_hatch(tmp_path, POLL, use)
    assert said == b"" or json.loads(said)["error"] == "bus"
    assert not reader.asked


def test_no_gateway(tmp_path: Path) -> None:
    assert ask_gateway(tmp_path, "press-1") is None
    with socket.socket(socket.AF_UNIX) as left_by_a_kill:
        left_by_a_kill.bind(str(tmp_path / NAME))
    assert ask_gateway(tmp_path, "press-1") is None
    poll, _ = with_hatch(tmp_path, POLL, lambda: ask_gateway(tmp_path, "press-1"))
    assert poll == POLL, "what a kill left does not keep the next one from serving"


def test_a_gateway_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_firmware_py.hatch.ANSWER_WITHIN_S", 0.1)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / NAME))
        deaf.listen()
        with pytest.raises(Unreachable, match="does not answer"):
            ask_gateway(tmp_path, "press-1")


def test_a_deep_folder_and_who_may_knock(tmp_path: Path) -> None:
    deep = tmp_path / ("gateway-of-the-third-workshop-" * 4) / "data"
    deep.mkdir(parents=True)

    def use() -> Poll | None:
        assert stat.S_IMODE((deep / NAME).stat().st_mode) == 0o660
        return ask_gateway(deep, "press-1")

    poll, _ = with_hatch(deep, POLL, use)
    assert poll == POLL
