"""`meterline reconcile` beside a head-end: what is gone or changed is shown, and fetched again on a person's word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headend.audit import Audit
from headend.audit_book import AuditBook
from headend.catalogue import Catalogue
from headend.stores.embedded import EmbeddedStore
from meterline.clock import ManualClock
from tests.cli.running import SITE, Result
from tests.gateway.polls import T0_NS
from tests.meterline.proofs import KEY, KEYS, MINUTE, days, journal, sql, store

Cli = Callable[..., Result]
NOW = T0_NS + 200 * MINUTE


def rounds(folder: Path) -> None:
    """Let the head-end of a folder run for one round of its audit."""
    opened, catalogue = EmbeddedStore(folder / "headend-data"), Catalogue(folder / "headend-data")
    book = AuditBook(catalogue.path)
    keys = {"gw1": KEY.public_key()}
    audit = Audit(opened, catalogue, book, ManualClock(NOW), keys, lambda *_: None, folder / "headend-data")
    audit.once(NOW)
    book.close()
    catalogue.close()
    opened.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("works")
    (folder / "site.yaml").write_text(SITE.replace("gw-1", "gw1"), encoding="utf-8")
    key = f"gateways: [{{id: gw1, public_key: '{KEYS['gw1'][0]}'}}]\n"
    (folder / "headend.yaml").write_text(key, encoding="utf-8")
    journal(folder / "gateway-data", batches=130)
    store(folder / "headend-data", folder / "gateway-data")
    rounds(folder)
    return folder


@pytest.fixture
def works(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "works")
    return tmp_path / "works"


def test_everything_fits(cli: Cli, works: Path) -> None:
    result = cli("reconcile", str(works / "headend.yaml"))
    assert result.code == 0
    assert "2 stated hours: 2 fit" in result.out
    body = cli("status", str(works / "headend.yaml"), "--json").json
    assert body["audit"]["gw1"] == {
        "fits": 2, "new": 0, "waiting": 0, "lost": 0, "missing": 0, "differs": 0, "until_ns": T0_NS + 120 * MINUTE,
    }  # fmt: skip
    assert "Audit of gw1: 2 stated hours fit up to 2026-11-23 10:00" in cli("status", str(works / "headend.yaml")).out


def test_what_is_gone_is_shown_and_left_to_the_head_end(cli: Cli, works: Path) -> None:
    (path,) = days(works / "headend-data")
    sql(path, "DELETE FROM polls WHERE batch IN (SELECT id FROM batches WHERE seq = 70)",
        "DELETE FROM batches WHERE seq = 70")  # fmt: skip
    shown = cli("reconcile", str(works / "headend.yaml"))
    assert shown.code == 1
    assert "2026-11-23 09:00" in shown.out
    assert "--apply" in shown.out
    assert not (works / "headend-data" / "requests").exists()
    body = cli("reconcile", str(works / "headend.yaml"), "--apply", "--json").json
    assert body["applied"] is True
    assert [(h["state"], h["missing"]) for h in body["doubtful"]] == [("missing", [[70, 70]])]
    assert len(list((works / "headend-data" / "requests").iterdir())) == 1


def test_a_changed_reading_is_taken_from_its_signed_batch_again(cli: Cli, works: Path) -> None:
    (path,) = days(works / "headend-data")
    sql(path, "UPDATE polls SET numbers = replace(numbers, '[20,', '[21,') WHERE numbers LIKE '[20,%'")
    body = cli("reconcile", str(works / "headend.yaml"), "--json").json
    assert [(h["state"], h["changed"]) for h in body["doubtful"]] == [("differs", [21])]
    assert cli("reconcile", str(works / "headend.yaml"), "--apply").code == 1
    rounds(works)
    assert cli("reconcile", str(works / "headend.yaml")).code == 0
    assert cli("verify", str(works / "headend.yaml")).code == 0


def test_only_some_days(cli: Cli, works: Path) -> None:
    file = str(works / "headend.yaml")
    assert cli("reconcile", file, "--from", "2026-11-23", "--json").json["hours"] == 2
    assert cli("reconcile", file, "--from", "2026-11-24", "--json").json["hours"] == 0
    assert cli("reconcile", file, "--from", "soon").code == 2


def test_a_head_end_that_never_ran(cli: Cli, works: Path) -> None:
    shutil.rmtree(works / "headend-data")
    assert cli("reconcile", str(works / "headend.yaml")).code == 3
