"""The service hatch: a socket in the gateway's data folder, where commands on the same box ask the running gateway.

A line has one master. While a gateway holds it, ``meterline read`` does not open it a second time but asks through the
hatch, and the gateway reads the meter between two turns. One JSON line each way; nothing that changes anything can be
asked. Only who may write into the data folder can reach it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from meterline.errors import BusError, Garbled, LineDown, Refused, Silent, Unreachable
from meterline.readings import ClockState, Column, Exchange, Poll, Shape, Source

NAME = "hatch.sock"
MOST_REQUEST, MOST_REPLY = 4096, 4_000_000
ANSWER_WITHIN_S = 90.0
"""A reading waits for the turn under way, and a silent meter is asked twice for each request. [s]"""
MOST_PATH = 100
"""Longest path a UNIX socket can have, with a margin (sun_path holds 108 bytes)."""
_ERRORS: dict[str, type[BusError]] = {error.cause: error for error in (BusError, Silent, Garbled, LineDown)}


class Reader(Protocol):
    """Who owns a line and reads one of its meters when asked: `collector.BusMaster`."""

    async def read_now(self, meter: str) -> Poll:
        """Read one meter at once. Raises `BusError`."""
        ...


class Hatch:
    """Answers those who knock.

    Parameters
    ----------
    readers
        Meter -> the owner of its line; may be filled until the first knock.
    """

    def __init__(self, folder: Path, readers: Mapping[str, Reader]) -> None:
        self._folder, self._readers = folder, readers

    async def run(self) -> None:
        """Serve until cancelled; on a system without such sockets, do nothing."""
        if not hasattr(socket, "AF_UNIX"):
            await asyncio.get_running_loop().create_future()
        with _path(self._folder) as path:
            path.unlink(missing_ok=True)  # left by a kill: the folder's lock says that no other gateway lives here
            server = await asyncio.start_unix_server(self._knock, path, limit=MOST_REQUEST)
            (self._folder / NAME).chmod(0o660)
        try:
            await server.serve_forever()
        finally:
            (self._folder / NAME).unlink(missing_ok=True)

    async def _knock(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                reply = await self._reply(await reader.readline())
                writer.write(json.dumps(reply).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):
            return  # who knocks may go away, or talk nonsense; there is nobody to tell
        finally:
            writer.close()

    async def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            wish = json.loads(line)
            meter = str(wish["read"])
        except (ValueError, KeyError, TypeError):
            return {"error": "bus", "text": "not understood; use the same version of meterline as the gateway"}
        reader = self._readers.get(meter)
        if reader is None:
            return {
                "error": "bus",
                "text": f"the running gateway knows no meter {meter!r}; restart it if the site file has changed",
            }
        try:
            return {"poll": poll_to_json(await reader.read_now(meter))}
        except Refused as error:
            return {"error": "refused", "code": error.code, "text": str(error)}
        except BusError as error:
            return {"error": error.cause, "text": str(error)}


def ask_gateway(folder: Path, meter: str) -> Poll | None:
    """Let the gateway that runs on a data folder read a meter.

    Returns
    -------
    Poll or None
        None if no gateway runs there.

    Raises
    ------
    BusError
        What came of it, as if the line had been opened here.
    Unreachable
        A gateway runs, but does not answer.
    """
    if not hasattr(socket, "AF_UNIX") or not (folder / NAME).exists():
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(ANSWER_WITHIN_S)
        try:
            with _path(folder) as path:
                knock.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None  # the socket was left by a gateway that was killed
        except PermissionError as error:
            raise Unreachable(
                str(folder), "a gateway runs here, but not for this user to ask", "run this as the gateway's user"
            ) from error
        try:
            knock.sendall(json.dumps({"read": meter}).encode() + b"\n")
            line = _line(knock)
            reply = json.loads(line)
        except (OSError, ValueError) as error:
            raise Unreachable(
                str(folder), "the running gateway does not answer", "look at its log, or stop it and read again"
            ) from error
    if "poll" in reply:
        return poll_from_json(reply["poll"])
    if reply["error"] == "refused":
        refused = Refused(int(reply["code"]))
        refused.args = (reply["text"],)
        raise refused
    raise _ERRORS.get(reply["error"], BusError)(reply["text"])


def _line(knock: socket.socket) -> bytes:
    got = b""
    while not got.endswith(b"\n") and len(got) < MOST_REPLY and (more := knock.recv(65536)):
        got += more
    return got


@contextlib.contextmanager
def _path(folder: Path) -> Iterator[Path]:
    """A name of the socket that is short enough; a deep folder is reached through a descriptor."""
    path = folder / NAME
    if len(os.fsencode(path.absolute())) <= MOST_PATH:
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}") / NAME
    finally:
        os.close(descriptor)


def poll_to_json(poll: Poll) -> dict[str, Any]:
    """A poll with its frames, as plain data; floats keep every digit."""
    return {
        "meter": poll.meter,
        "profile": poll.shape.profile,
        "columns": [[c.measurand, c.exponent, c.is_float, c.request] for c in poll.shape.columns],
        "slot_ns": poll.slot_ns,
        "delays_ms": poll.delays_ms,
        "clock": int(poll.clock),
        "numbers": poll.numbers,
        "qualities": poll.qualities,
        "source": poll.source.value,
        "exchanges": [[e.request.hex(), e.response.hex(), e.sent_ns, e.answered_ns, e.cause] for e in poll.exchanges],
    }


def poll_from_json(data: Mapping[str, Any]) -> Poll:
    """What `poll_to_json` was given."""
    return Poll(
        data["meter"],
        Shape(data["profile"], tuple(Column(*column) for column in data["columns"])),
        data["slot_ns"],
        tuple(data["delays_ms"]),
        ClockState(data["clock"]),
        tuple(data["numbers"]),
        tuple(data["qualities"]),
        Source(data["source"]),
        tuple(
            Exchange(bytes.fromhex(request), bytes.fromhex(response), sent_ns, answered_ns, cause)
            for request, response, sent_ns, answered_ns, cause in data["exchanges"]
        ),
    )
