"""The head-end as one process: starts without a broker, says what is wrong, stops cleanly."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from urllib.request import urlopen

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from headend.catalogue import Catalogue
from headend.main import run_headend
from headend.queries import Queries
from headend.stores.embedded import EmbeddedStore
from meterline.clock import SystemClock
from meterline.errors import EXIT_FINE, EXIT_UNREACHABLE, ConfigError
from meterline.settings import HeadendFile, HeadendSettings
from tests.headend.gateway_twin import Twin
from tests.headend.small_plant import small_plant
from tests.servers.processes import free_port
from tests.servers.waiting import wait_until


class Process:
    """`run_headend` in a thread."""

    def __init__(self, folder: Path, **changes: object) -> None:
        key = base64.b64encode(Twin().public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
        document = {
            "gateways": ({"id": "gw-1", "public_key": key},),
            "broker": {"host": "127.0.0.1", "port": free_port()},
            "web": {"host": "127.0.0.1", "port": free_port()},
            "jobs_s": 0.2,
        } | changes
        self.settings = HeadendSettings(HeadendFile.model_validate(document, strict=False), folder, small_plant())
        self.said: list[str] = []
        self.code: int | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.code = run_headend(self.settings, SystemClock(), announce=self.said.append, stopping=self._stopping)

    def __enter__(self) -> Process:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


def test_it_runs_without_a_broker_and_tells_its_state_to_other_programs(tmp_path: Path) -> None:
    with Process(tmp_path) as process:
        wait_until(lambda: any(line.startswith("page: ") for line in process.said), within=30, what="the page")
        page = next(line for line in process.said if line.startswith("page: ")).removeprefix("page: ")
        with urlopen(page, timeout=10) as answer:
            assert answer.status == 200

        def told() -> str:
            beside = Queries.of(process.settings)
            try:
                status = beside.status(SystemClock().now_ns())
            finally:
                beside.close()
            json.dumps(status)
            return str(status["head_end"].get("broker", ""))

        wait_until(lambda: "start the broker" in told(), what="the state in the catalogue")
        assert any("no mails" in line for line in process.said)
    assert process.code == EXIT_FINE
    assert process.said[-1] == "stopped"


def test_a_folder_in_use_ends_it_with_a_word(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "headend-data"), Process(tmp_path) as process:
        wait_until(lambda: process.code is not None, within=20, what="the end")
    assert process.code == EXIT_UNREACHABLE
    assert "another process is writing here" in process.said[-1]


def test_a_key_that_is_not_there_is_named_before_anything_is_opened(tmp_path: Path) -> None:
    gateways = ({"id": "gw-1", "public_key_file": "gateway.pub"}, {"id": "gw-2", "public_key": "bm9uZQ=="})
    process = Process(tmp_path, gateways=gateways)
    with pytest.raises(ConfigError) as caught:
        run_headend(process.settings, SystemClock(), announce=process.said.append)
    first, second = caught.value.problems
    assert (first.place, first.file) == ("gateways[0]", str(tmp_path / "gateway.pub"))
    assert "gw-2" in second.problem
    assert not (tmp_path / "headend-data").exists()


def test_a_missing_influx_token_is_named_before_anything_is_opened(tmp_path: Path) -> None:
    process = Process(tmp_path, influx={"url": "http://127.0.0.1:1", "token_file": "influx.token"})
    with pytest.raises(ConfigError, match=r"influx\.token"):
        run_headend(process.settings, SystemClock(), announce=process.said.append)
    assert not (tmp_path / "headend-data").exists()


def test_an_influxdb_that_is_away_holds_up_nothing(tmp_path: Path) -> None:
    with Process(tmp_path, influx={"url": f"http://127.0.0.1:{free_port()}"}) as process:
        wait_until(lambda: any(line.startswith("page: ") for line in process.said), within=30, what="the page")

        def troubles() -> str:
            catalogue = Catalogue(tmp_path / "headend-data", write=False)
            try:
                return catalogue.mark("figures", "troubles") or ""
            finally:
                catalogue.close()

        wait_until(lambda: "mirror to InfluxDB" in troubles(), within=20, what="the trouble")
    assert process.code == EXIT_FINE
