"""The application on a port of this machine, in a thread of the head-end."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from meterline.errors import Unreachable

LOOPBACK = ("127.0.0.1", "::1", "localhost")
STARTS_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Serving:
    """A page that is being served.

    Attributes
    ----------
    port
        The one that was bound, also where 0 was asked for.
    """

    host: str
    port: int
    _server: uvicorn.Server
    _thread: threading.Thread

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def stop(self, within_s: float = 5.0) -> None:
        """Finish what is being answered and close the port."""
        self._server.should_exit = True
        self._thread.join(within_s)


def serve_in_thread(app: FastAPI, host: str, port: int) -> Serving:
    """Serve on the loopback; returns when the port answers.

    Raises
    ------
    ValueError
        The host is not the loopback: there is no login.
    Unreachable
        The port is in use.
    """
    if host not in LOOPBACK:
        raise ValueError(f"{host} is not the loopback; there is no login, put an authenticating proxy before the page")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        hint = "stop the other program or choose another port in headend.yaml (web, port)"
        raise Unreachable(f"{host}:{port}", str(error.strerror or error), hint) from error
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="web", daemon=True)
    thread.start()
    ready = threading.Event()
    waited = 0.0
    while not server.started and thread.is_alive() and waited < STARTS_WITHIN_S:
        ready.wait(0.02)
        waited += 0.02
    if not server.started:
        raise Unreachable(f"{host}:{port}", "the page did not start")
    return Serving(host, int(listener.getsockname()[1]), server, thread)
