"""Processes and head-ends that are cleaned up whatever a test does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway_firmware_py.files import DiskFiles
from gateway_firmware_py.keys import device_key
from tests.gateway.fake_headend import FakeHeadend
from tests.gateway.life import Life
from tests.servers.broker import Mosquitto

Begin = Callable[..., Life]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start lives of a gateway below `tmp_path`: ``begin(port, run)``."""
    lives: list[Life] = []

    def start(port: int, run: int, rate: float = 200) -> Life:
        lives.append(Life(tmp_path, port, run, rate))
        return lives[-1]

    yield start
    for life in lives:
        life.clean_up()


@pytest.fixture
def headend(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[FakeHeadend]:
    """Give a head-end on the broker `mosquitto` that knows the gateway's key."""
    key = device_key(DiskFiles(), tmp_path / "gateway-data")
    headend = FakeHeadend(mosquitto.port, key.public_key())
    headend.start()
    yield headend
    headend.stop()
