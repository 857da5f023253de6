"""Syncing is safe to repeat, keeps out of foreign folders, and says what a person must do when it may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from headend.grafana import DatasourceSettings, Grafana, GrafanaRefused, read_boards
from meterline.errors import ConfigError, Unreachable
from meterline.paths import dashboards_dir
from tests.headend.fake_grafana import TOKEN, FakeGrafana

SOURCE = DatasourceSettings("http://127.0.0.1:8086", "meterline", "reader", "secret")


@pytest.fixture
def fake() -> Iterator[FakeGrafana]:
    server = FakeGrafana()
    yield server
    server.close()


def client(fake: FakeGrafana, token: str = TOKEN) -> Grafana:
    return Grafana(fake.url, token, pause=lambda _: None)


def test_the_second_run_changes_nothing(fake: FakeGrafana) -> None:
    first = client(fake).sync(dashboards_dir(), SOURCE)
    assert [(c.what, c.action) for c in first] == [
        ("folder", "create"), ("datasource", "create"), ("dashboard", "create"), ("dashboard", "create"),
    ]  # fmt: skip
    writes = len(fake.writes)
    assert {c.action for c in client(fake).sync(dashboards_dir(), SOURCE)} == {"none"}
    assert len(fake.writes) == writes
    assert {board["meta"]["folderUid"] for board in fake.boards.values()} == {"meterline"}


def test_a_change_by_hand_is_shown_and_put_right(fake: FakeGrafana) -> None:
    client(fake).sync(dashboards_dir(), SOURCE)
    fake.boards["meterline-plant"]["dashboard"]["panels"][4]["title"] = "changed by hand"
    fake.datasources["meterline"]["url"] = "http://elsewhere"
    seen = {c.name: c for c in client(fake).sync(dashboards_dir(), SOURCE, apply=False)}
    assert seen["Plant"].differences == ("panels[4].title",)
    assert fake.boards["meterline-plant"]["dashboard"]["panels"][4]["title"] == "changed by hand"
    client(fake).sync(dashboards_dir(), SOURCE)
    assert fake.boards["meterline-plant"]["dashboard"]["panels"][4]["title"] != "changed by hand"
    assert fake.datasources["meterline"]["url"] == SOURCE.url


def test_only_looking_writes_nothing(fake: FakeGrafana) -> None:
    changes = client(fake).sync(dashboards_dir(), SOURCE, apply=False)
    assert {c.action for c in changes} == {"create"}
    assert fake.writes == []


def test_a_foreign_folder_is_never_touched(fake: FakeGrafana) -> None:
    fake.boards["meterline-plant"] = {
        "dashboard": {"uid": "meterline-plant", "version": 3},
        "meta": {"folderUid": "theirs", "folderTitle": "Theirs"},
    }
    with pytest.raises(GrafanaRefused, match="Theirs"):
        client(fake).sync(dashboards_dir(), SOURCE)
    assert fake.boards["meterline-plant"]["dashboard"] == {"uid": "meterline-plant", "version": 3}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_is_tried_again(fake: FakeGrafana, status: int) -> None:
    fake.failures = [status, status]
    assert client(fake).sync(dashboards_dir(), None)[0].action == "create"


def test_still_busy_is_unreachable(fake: FakeGrafana) -> None:
    fake.failures = [503] * 4
    with pytest.raises(Unreachable, match="check the address"):
        client(fake).sync(dashboards_dir(), None)


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        Grafana("http://127.0.0.1:1", "t", pause=lambda _: None).sync(dashboards_dir(), None)


@pytest.mark.parametrize(("status", "says"), [(403, "datasources:write"), (412, "run it again")])
def test_a_refusal_says_what_to_do(fake: FakeGrafana, status: int, says: str) -> None:
    fake.failures = [status]
    with pytest.raises(GrafanaRefused, match=says):
        client(fake).sync(dashboards_dir(), None)


def test_a_wrong_token_says_so(fake: FakeGrafana) -> None:
    with pytest.raises(GrafanaRefused, match="token is wrong"):
        client(fake, "other").sync(dashboards_dir(), None)


def test_stopped_halfway_the_next_run_finishes(fake: FakeGrafana) -> None:
    client(fake).sync(dashboards_dir(), SOURCE)
    del fake.boards["meterline-plant"]
    assert [c.action for c in client(fake).sync(dashboards_dir(), SOURCE)] == ["none", "none", "none", "create"]


def test_removing_leaves_what_is_not_ours(fake: FakeGrafana) -> None:
    client(fake).sync(dashboards_dir(), SOURCE)
    fake.folders["theirs"] = {"uid": "theirs", "title": "Theirs"}
    client(fake).remove()
    assert set(fake.folders) == {"theirs"}
    assert fake.boards == {}
    assert fake.datasources == {}
    client(fake).remove()


def test_every_query_is_run_by_grafana_itself(fake: FakeGrafana) -> None:
    client(fake).sync(dashboards_dir(), SOURCE)
    checks = list(client(fake).check(dashboards_dir(), {"site": "s", "meter": "m", "incomer": "m"}))
    assert len(checks) >= 16
    assert all(check.rows == 3 and not check.error for check in checks)


@pytest.mark.parametrize("url", ["grafana:3000", "ftp://x", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="web address"):
        Grafana(url, "t")


def test_a_file_that_is_no_dashboard_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no dashboards"):
        read_boards(tmp_path)
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps({"title": "x"}), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_boards(tmp_path)
    assert len(caught.value.problems) == 2
