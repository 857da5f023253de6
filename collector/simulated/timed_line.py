"""A serial line that takes its time byte by byte: for measuring cycles, in a process of its own.

A pseudo-terminal has no speed. This end keeps that of a real line: a request has been heard when its last byte would
have left the wire, the answer begins after the meter's turnaround, and each of its bytes comes when it would have come.
Any address answers; the words are those of `collector.simulated.quick_meters`, the items of DL/T 645 plain digits. Run
as ``python -m collector.simulated.timed_line PROFILE --baud 9600``: prints the terminal's path, ends when its input is
closed.
"""

from __future__ import annotations

import os
import select
import sys
import time
import tty
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from pymodbus.framer.rtu import FramerRTU

from collector.simulated.quick_meters import Image
from meterline.profiles import Dlt645Profile, ModbusProfile, Profile, load_profile

BITS_A_CHARACTER = 11
TOGETHER_S = 0.0005
"""Bytes due within this time are handed over together, as every serial adapter does. [s]"""


def rtu_answers(profile: ModbusProfile) -> Callable[[bytearray], bytes | None]:
    """What a line of RTU meters answers to the request at the head of what was heard; None while it is not whole."""
    image = Image(profile)

    def answer(heard: bytearray) -> bytes | None:
        if len(heard) < 8:
            return None
        request = bytes(heard[:8])
        del heard[:8]
        words = image.words(request[1], int.from_bytes(request[2:4], "big"), request[5], request[0])
        body = request[:2] + bytes((len(words),)) + words
        return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")

    return answer


def item_answers(profile: Dlt645Profile) -> Callable[[bytearray], bytes | None]:
    """The same for DL/T 645 meters: every item shows digits, with four wake-up bytes before the frame."""
    sizes: dict[str, int] = {}
    for point in profile.points:
        if point.di is not None:
            sizes[point.di] = point.bytes_each
        if point.block is not None and point.item is not None:
            sizes[point.block] = max(sizes.get(point.block, 0), (point.item + 1) * point.bytes_each)

    def answer(heard: bytearray) -> bytes | None:
        while heard and heard[0] == 0xFE:
            del heard[0]
        if len(heard) < 12 or len(heard) < 12 + heard[9]:
            return None
        frame = bytes(heard[: 12 + heard[9]])
        del heard[: 12 + frame[9]]
        identifier = bytes((byte - 0x33) & 0xFF for byte in frame[10:14])
        data = identifier + b"\x12" * sizes[identifier[::-1].hex().upper()]
        body = frame[:8] + bytes((0x91, len(data))) + bytes((byte + 0x33) & 0xFF for byte in data)
        return b"\xfe" * 4 + body + bytes((sum(body) & 0xFF, 0x16))

    return answer


def serve(profile: Profile, baud: int, turnaround_s: float) -> None:
    """Answer until standard input is closed."""
    assert isinstance(profile, ModbusProfile | Dlt645Profile)
    answer = rtu_answers(profile) if isinstance(profile, ModbusProfile) else item_answers(profile)
    character_s = BITS_A_CHARACTER / baud
    master, slave = os.openpty()
    tty.setraw(slave)
    print(os.ttyname(slave), flush=True)  # noqa: T201 - how the parent learns it
    heard, free_s = bytearray(), 0.0
    while True:
        ready, _, _ = select.select([master, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        raw, now_s = os.read(master, 4096), time.monotonic()
        heard += raw
        free_s = max(free_s, now_s) + len(raw) * character_s  # when the last of these bytes has left the wire
        while (frame := answer(heard)) is not None:
            free_s = _say(master, frame, free_s + turnaround_s, character_s)


def _say(master: int, frame: bytes, begin_s: float, character_s: float) -> float:
    """Send each byte when it is due; returns when the last one was."""
    sent = 0
    while sent < len(frame):
        due = min(int((time.monotonic() - begin_s) / character_s), len(frame))
        if due > sent:
            sent += os.write(master, frame[sent:due])
        if sent < len(frame):
            next_s = begin_s + (sent + max(1, min(int(TOGETHER_S / character_s), len(frame) - sent))) * character_s
            time.sleep(max(next_s - time.monotonic(), 0.0))
    return begin_s + len(frame) * character_s


def main() -> None:
    """Serve one line."""
    options = ArgumentParser()
    options.add_argument("profile", type=Path)
    options.add_argument("--baud", type=int, required=True)
    options.add_argument("--turnaround-ms", type=float, default=0.0)
    given = options.parse_args()
    serve(load_profile(given.profile), given.baud, given.turnaround_ms / 1000)


if __name__ == "__main__":
    main()
