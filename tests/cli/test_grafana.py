"""The grafana commands against the stand-in: what is printed, what is written, how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import spawn
from tests.headend.fake_grafana import TOKEN, FakeGrafana


@pytest.fixture
def fake() -> Iterator[FakeGrafana]:
    server = FakeGrafana()
    yield server
    server.close()


@pytest.fixture
def login(fake: FakeGrafana, tmp_path: Path) -> list[str]:
    (tmp_path / "token").write_text(TOKEN + "\n", encoding="utf-8")
    return ["--url", fake.url, "--token-file", "token"]


def test_sync_twice_and_look(fake: FakeGrafana, login: list[str], tmp_path: Path) -> None:
    influx = ["--influx-url", "http://127.0.0.1:8086"]
    looked = spawn("grafana", "sync", *login, *influx, "--diff", cwd=tmp_path)
    assert (looked.code, fake.writes) == (0, [])
    assert "4 change(s) to make" in looked.out
    assert "4 change(s) made" in spawn("grafana", "sync", *login, *influx, cwd=tmp_path).out
    again = spawn("grafana", "sync", *login, *influx, "--json", cwd=tmp_path)
    assert {change["action"] for change in again.json["changes"]} == {"none"}


def test_check_and_remove(fake: FakeGrafana, login: list[str], tmp_path: Path) -> None:
    spawn("grafana", "sync", *login, "--influx-url", "http://127.0.0.1:8086", cwd=tmp_path)
    done = spawn("grafana", "check", *login, "--site", "s", "--meter", "m", "--json", cwd=tmp_path)
    assert done.code == 0
    assert len(done.json["queries"]) >= 16
    assert spawn("grafana", "remove", *login, cwd=tmp_path).code == 0
    assert fake.boards == {}


def test_refusals_end_with_their_code(fake: FakeGrafana, login: list[str], tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("nonsense", encoding="utf-8")
    wrong = spawn("grafana", "sync", "--url", fake.url, "--token-file", "wrong", cwd=tmp_path)
    assert wrong.code == 3
    assert "token is wrong" in wrong.err
    absent = spawn("grafana", "sync", "--url", fake.url, "--token-file", "absent", cwd=tmp_path)
    assert absent.code == 2
    assert "absent" in absent.err
    assert spawn("grafana", "sync", "--url", "grafana", "--token-file", "token", cwd=tmp_path).code == 2
