"""The flaky link passes bytes unharmed and hurts a connection in the ways it promises."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.servers.flaky_link import LinkFactory
from tests.servers.processes import free_port
from tests.servers.waiting import wait_until


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back what it gets."""
    door = socket.create_server(("127.0.0.1", 0))

    def answer(line: socket.socket) -> None:
        with line:
            try:
                while data := line.recv(65536):
                    line.sendall(data)
            except ConnectionError:
                return

    def serve() -> None:
        while True:
            try:
                line, _ = door.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(line,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield door.getsockname()[1]
    door.shutdown(socket.SHUT_RDWR)
    door.close()


def receive(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := line.recv(size - len(data))):
        data += chunk
    return data


def test_bytes_pass_unharmed(flaky_link: LinkFactory, echo_port: int) -> None:
    link = flaky_link(echo_port)
    sent = bytes(range(256)) * 1000
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as line:
        threading.Thread(target=line.sendall, args=(sent,), daemon=True).start()
        assert receive(line, len(sent)) == sent
    assert (link.bytes_up, link.bytes_down) == (len(sent), len(sent))


def test_cut_resets_and_lets_the_next_one_in(flaky_link: LinkFactory, echo_port: int) -> None:
    link = flaky_link(echo_port)
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as line:
        wait_until(lambda: link.connections == 1)
        link.cut()
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as line:
        line.sendall(b"again")
        assert receive(line, 5) == b"again"


def test_a_message_is_torn_in_the_middle(flaky_link: LinkFactory, echo_port: int) -> None:
    link = flaky_link(echo_port)
    link.cut_after(3)
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as line:
        line.sendall(b"hello")
        wait_until(lambda: link.bytes_up == 3 and link.connections == 0)


def test_silence_holds_bytes_back_until_healed(flaky_link: LinkFactory, echo_port: int) -> None:
    link = flaky_link(echo_port)
    with socket.create_connection(("127.0.0.1", link.port), timeout=0.2) as line:
        wait_until(lambda: link.connections == 1)
        link.silence()
        line.sendall(b"late")
        with pytest.raises(TimeoutError):
            line.recv(1)
        link.heal()
        line.settimeout(5)
        assert receive(line, 4) == b"late"


def test_refusing_and_a_dead_server_look_like_a_reset(flaky_link: LinkFactory, echo_port: int) -> None:
    refusing, dead = flaky_link(echo_port), flaky_link(free_port())
    refusing.refuse()
    for link in (refusing, dead):
        with (  # the reset may already meet the connect
            pytest.raises(ConnectionResetError),
            socket.create_connection(("127.0.0.1", link.port), timeout=5) as line,
        ):
            line.recv(1)
