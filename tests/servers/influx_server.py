"""A real InfluxDB 1.6.7, made to understand the `/api/v2/write` that influxdb-client speaks.

1.6.7 answers 404 to every v2 path (native from 1.8 on). Its own `/write` takes the same line protocol, so a proxy that
rewrites one address is enough for the unmodified client library: bucket -> db[/rp], precision us -> u, gzip and answers
untouched.
"""

from __future__ import annotations

import http.client
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.servers.processes import ServerProcess, free_port
from tests.servers.programs import require

CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
  dir = "{directory}/meta"
[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[logging]
  level = "info"
"""


class InfluxServer(ServerProcess):
    """influxd with its data below the test's folder. `url` speaks v2 writes, `native_url` is the server itself."""

    def __init__(self, directory: Path) -> None:
        program = require("influxdb")
        directory.mkdir(parents=True)
        port = free_port()
        config = directory / "influxdb.conf"
        config.write_text(CONFIG.format(port=port, rpc_port=free_port(), directory=directory), encoding="utf-8")
        super().__init__(
            [program.path, "-config", str(config)], port=port, directory=directory, environment=program.environment
        )
        self.database = "meterline"
        self._proxy = V2WriteProxy(("127.0.0.1", 0), port)
        threading.Thread(target=self._proxy.serve_forever, args=(0.05,), name="influx-proxy", daemon=True).start()

    @property
    def native_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._proxy.server_address[1]}"

    def close(self) -> None:
        self.stop()
        self._proxy.shutdown()
        self._proxy.server_close()

    def query(self, influxql: str, database: str | None = None) -> list[dict[str, Any]]:
        """Run InfluxQL; one dictionary a row (its tags included), times in ns."""
        form = {"q": influxql, "db": database or self.database, "epoch": "ns"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(
                "POST", "/query", urllib.parse.urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"}
            )
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        problems = [answer.get("error"), *(result.get("error") for result in answer.get("results", []))]
        if any(problems):
            raise AssertionError(f"InfluxDB refused {influxql!r}: {[p for p in problems if p]}")
        rows: list[dict[str, Any]] = []
        for result in answer["results"]:
            for series in result.get("series", []):
                rows += [
                    dict(zip(series["columns"], row, strict=True)) | series.get("tags", {}) for row in series["values"]
                ]
        return rows


class V2WriteProxy(ThreadingHTTPServer):
    """Pass every request on; only the address of a v2 write is rewritten."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], upstream_port: int) -> None:
        super().__init__(address, _Forward)
        self.upstream_port = upstream_port


def v1_path(path: str) -> str:
    """Translate `/api/v2/write?bucket=b&org=o&precision=us` into `/write?db=b&precision=u`; leave other paths alone."""
    parts = urllib.parse.urlsplit(path)
    if parts.path != "/api/v2/write":
        return path
    asked = dict(urllib.parse.parse_qsl(parts.query))
    database, _, policy = asked.get("bucket", "").partition("/")
    wanted = {"db": database, "precision": {"us": "u"}.get(asked.get("precision", "ns"), asked.get("precision", "ns"))}
    if policy:
        wanted["rp"] = policy
    return "/write?" + urllib.parse.urlencode(wanted)


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: V2WriteProxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=20)
        try:
            connection.request(self.command, v1_path(self.path), body or None, headers)
            answer = connection.getresponse()
            content, status = answer.read(), answer.status
            kept = [
                (n, v)
                for n, v in answer.getheaders()
                if n.lower() in ("content-type", "x-influxdb-version", "x-influxdb-error")
            ]
        except OSError as error:  # the database is down: say so as a gateway would
            content, status, kept = (
                json.dumps({"error": str(error)}).encode(),
                502,
                [("Content-Type", "application/json")],
            )
        finally:
            connection.close()
        self.send_response(status)
        for name, value in kept:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if status != 204:
            self.wfile.write(content)

    do_GET = do_POST
    do_HEAD = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Keep silent: pytest's output belongs to the tests."""


@pytest.fixture
def influxdb(tmp_path: Path) -> Iterator[InfluxServer]:
    """Give a running InfluxDB with the empty database `meterline`; needs the marker `needs_influxdb`."""
    server = InfluxServer(tmp_path / "influxdb")
    try:
        server.start()
        server.query('CREATE DATABASE "meterline"')
        yield server
    finally:
        server.close()
