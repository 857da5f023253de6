"""A TCP connection that can be hurt: cut, silenced, refused, torn. Works on any protocol and needs no root."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

LinkFactory = Callable[[int], "FlakyLink"]
CHUNK = 65536


class FlakyLink:
    """Listens on 127.0.0.1:`port` and passes bytes to and from 127.0.0.1:`target_port`, until told otherwise."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.bytes_up = 0
        self.bytes_down = 0
        self._lock = threading.Lock()
        self._silent = False
        self._refusing = False
        self._cut_after: int | None = None
        self._peer: dict[socket.socket, socket.socket] = {}
        self._upward: set[socket.socket] = set()  # the client side's sockets
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._wake_read, self._wake_write = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for source in (self._door, self._wake_read):
            self._selector.register(source, selectors.EVENT_READ)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="flaky-link", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._upward)

    def cut(self) -> None:
        """Reset every connection now; new ones are accepted."""
        with self._lock:
            self._cut()

    def cut_after(self, size: int) -> None:
        """Pass `size` more bytes upwards, then reset: a message torn in the middle."""
        with self._lock:
            self._cut_after = size

    def refuse(self) -> None:
        """Reset every connection, and each new one as soon as it is made."""
        with self._lock:
            self._refusing = True
            self._cut()

    def silence(self) -> None:
        """Keep connections open and pass nothing on, like a radio cell that forgot us; hold back what is sent."""
        with self._lock:
            self._silent = True
            for source in self._peer:
                self._selector.unregister(source)

    def heal(self) -> None:
        """Pass bytes again; what `silence` held back arrives now, late."""
        with self._lock:
            if self._silent:
                self._silent = False
                for source in self._peer:
                    self._selector.register(source, selectors.EVENT_READ)
            self._refusing = False
        self._wake_write.send(b"!")

    def close(self) -> None:
        self._closing = True
        self._wake_write.send(b"!")
        self._thread.join(5)
        with self._lock:
            self._cut()
        for source in (self._door, self._wake_read, self._wake_write):
            source.close()
        self._selector.close()

    def _cut(self) -> None:
        for source in list(self._peer):
            self._drop(source)

    def _drop(self, source: socket.socket) -> None:
        """Close one side with a reset (SO_LINGER 0), so that the peer notices at once and not by a polite FIN."""
        self._peer.pop(source, None)
        self._upward.discard(source)
        with contextlib.suppress(KeyError):  # not registered while silent
            self._selector.unregister(source)
        source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        source.close()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(0.2):
                with self._lock:
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    if source is self._wake_read:
                        source.recv(64)
                    elif source is self._door:
                        self._accept()
                    elif source in self._peer and not self._silent:
                        self._pass_on(source)

    def _accept(self) -> None:
        client, _ = self._door.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
        except OSError:
            server = None
        if server is None or self._refusing:
            for side in (client, server):
                if side is not None:
                    self._drop(side)
            return
        client.settimeout(5)
        self._peer |= {client: server, server: client}
        self._upward.add(client)
        if not self._silent:
            for side in (client, server):
                self._selector.register(side, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        peer, upward = self._peer[source], source in self._upward
        try:
            data = source.recv(CHUNK if self._cut_after is None or not upward else max(1, self._cut_after))
            if upward:  # counted first: who has received a byte finds it counted
                self.bytes_up += len(data)
            else:
                self.bytes_down += len(data)
            peer.sendall(data)
        except OSError:
            data = b""
        torn = False
        if upward and self._cut_after is not None:
            self._cut_after -= len(data)
            torn = self._cut_after <= 0
        if not data or torn:
            if torn:
                self._cut_after = None
            for side in (source, peer):
                self._drop(side)


@pytest.fixture
def flaky_link() -> Iterator[LinkFactory]:
    """Make links: `link = flaky_link(broker.port)`, then connect to `link.port`."""
    links: list[FlakyLink] = []

    def make(target_port: int) -> FlakyLink:
        links.append(FlakyLink(target_port))
        return links[-1]

    yield make
    for link in links:
        link.close()
