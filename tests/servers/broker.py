"""A real mosquitto broker (MQTT 5) for one test, on its own port with its own persistence folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.processes import ServerProcess, free_port
from tests.servers.programs import require

BrokerFactory = Callable[..., "Mosquitto"]


class Mosquitto(ServerProcess):
    """A broker on 127.0.0.1:`port`, anonymous unless `config` (more lines of mosquitto.conf) says otherwise."""

    def __init__(self, directory: Path, config: str = "") -> None:
        program = require("mosquitto")
        port = free_port()
        data = directory / "data"
        data.mkdir(parents=True)
        lines = [
            f"listener {port} 127.0.0.1",
            "persistence true",
            f"persistence_location {data}/",
            "log_dest stderr",
            "log_type all",
            "connection_messages true",
        ]
        if "allow_anonymous" not in config:
            lines.append("allow_anonymous true")
        if os.geteuid() == 0:
            lines.append("user root")  # else it becomes `nobody`, which may not write into a test's folder
        self.config_file = directory / "mosquitto.conf"
        self.config_file.write_text("\n".join([*lines, config, ""]), encoding="utf-8")
        super().__init__(
            [program.path, "-c", str(self.config_file)], port=port, directory=directory, environment=program.environment
        )


@pytest.fixture
def mosquitto_factory(tmp_path: Path) -> Iterator[BrokerFactory]:
    """Make brokers with a configuration of the test's own: `mosquitto_factory("max_inflight_messages 5")`."""
    brokers: list[Mosquitto] = []

    def make(config: str = "") -> Mosquitto:
        broker = Mosquitto(tmp_path / f"mosquitto{len(brokers)}", config)
        brokers.append(broker)
        broker.start()
        return broker

    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def mosquitto(mosquitto_factory: BrokerFactory) -> Mosquitto:
    """Give one running broker with default settings; needs the marker `needs_mosquitto`."""
    return mosquitto_factory()
