"""`meterline verify` and `export-evidence` as their user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import SITE, Result
from tests.meterline.proofs import KEYS, OTHER, days, journal, public, sql, store

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a head-end has it, with the gateway's data folder beside it."""
    folder = tmp_path_factory.mktemp("works")
    (folder / "site.yaml").write_text(SITE.replace("gw-1", "gw1"), encoding="utf-8")
    key = f"gateways: [{{id: gw1, public_key: '{KEYS['gw1'][0]}'}}]\n"
    (folder / "headend.yaml").write_text(key, encoding="utf-8")
    (folder / "gateway.yaml").write_text("gateway: gw1\n", encoding="utf-8")
    journal(folder / "gateway-data", batches=20)
    (folder / "gateway-data" / "gateway.pub").write_text(KEYS["gw1"][0] + "\n")
    store(folder / "headend-data", folder / "gateway-data")
    return folder


def test_a_file_or_a_folder_stands_for_the_data(cli: Cli, works: Path) -> None:
    for path in ("headend.yaml", "headend-data", "gateway.yaml", "gateway-data", "gateway-data/journal"):
        result = cli("verify", str(works / path), "--json")
        assert result.code == 0, result.out
        assert result.json["fine"] is True
        assert (result.json["batches"], result.json["proven"]) == (20, 20)


def test_a_person_is_told_with_which_software_and_key(cli: Cli, works: Path) -> None:
    said = cli("verify", str(works / "gateway-data"))
    assert "Checked by meterline 0" in said.out
    assert f"Public key of gw1: {KEYS['gw1'][0]} (gateway.pub)" in said.out
    assert "Compare it with 'meterline gateway --show-key'" in said.out
    assert "Compare" not in cli("verify", str(works / "headend.yaml")).out
    assert "全部数据与网关生成时一致" in cli("--lang", "zh", "verify", str(works / "headend.yaml")).out


def test_what_was_changed_is_found_and_named(cli: Cli, tmp_path: Path) -> None:
    journal(tmp_path / "gw", batches=10)
    store(tmp_path / "head", tmp_path / "gw")
    key = f"gw1={KEYS['gw1'][0]}"
    (path,) = days(tmp_path / "head")
    sql(path, "UPDATE polls SET numbers = replace(numbers, '[4,', '[5,')")
    result = cli("verify", str(tmp_path / "head"), "--key", key)
    assert result.code == 1
    assert "reading differs" in result.out
    assert f"hot/{path.name}" in result.out
    assert "1 flaw(s)" in result.out
    body = cli("verify", str(tmp_path / "head"), "--key", key, "--json").json
    assert [(f["kind"], f["gateway"], f["first"]) for f in body["flaws"]] == [("readings", "gw1", 5)]


def test_an_export_is_proven_with_the_key_that_was_read_out_on_the_gateway(
    cli: Cli, works: Path, tmp_path: Path
) -> None:
    out = tmp_path / "day.mlev"
    args = ("export-evidence", str(out), "--from", "2026-11-23", "--headend", str(works / "headend.yaml"))
    assert cli(*args, "--json").json["batches"] == 20
    assert cli("verify", str(out), "--key", f"gw1={KEYS['gw1'][0]}").code == 0
    (tmp_path / "key.txt").write_text(KEYS["gw1"][0])
    assert cli("verify", str(out), "--key", f"gw1={tmp_path / 'key.txt'}").code == 0
    assert cli("verify", str(out), "--key", f"gw1={public(OTHER)}").code == 1
    again = cli(*args)
    assert again.code == 2
    assert "--overwrite" in again.err
    assert cli(*args, "--overwrite").code == 0


def test_a_day_nobody_recorded_leaves_nothing_to_prove(cli: Cli, works: Path, tmp_path: Path) -> None:
    out = tmp_path / "none.mlev"
    cli("export-evidence", str(out), "--from", "2026-01-01", "--headend", str(works / "headend.yaml"))
    assert cli("verify", str(out)).code == 1


def test_an_earlier_report_is_a_witness(cli: Cli, works: Path, tmp_path: Path) -> None:
    report = cli("verify", str(works / "gateway.yaml"), "--json").json
    witness = tmp_path / "last-month.json"
    witness.write_text(json.dumps(report))
    assert cli("verify", str(works / "headend.yaml"), "--witness", str(witness)).code == 0
    report["epochs"][0]["head"] = "00" * 32
    witness.write_text(json.dumps(report))
    result = cli("verify", str(works / "headend.yaml"), "--witness", str(witness))
    assert result.code == 1
    assert "the past was exchanged" in result.out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("nowhere",), "holds no journal, no store and no evidence"),
        (("gateway-data", "--key", "gw1"), "names no gateway and key"),
        (("gateway-data", "--key", "gw1=AAAA"), "is no public key"),
        (("gateway-data", "--witness", "site.yaml"), "is no report of an earlier check"),
    ],
)
def test_wrong_input_is_refused(
    cli: Cli, works: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(works)
    result = cli("verify", *args)
    assert result.code == 2
    assert words in result.err


def test_without_a_key_nothing_is_claimed(cli: Cli, tmp_path: Path) -> None:
    journal(tmp_path / "gw", batches=2)
    result = cli("verify", str(tmp_path / "gw"))
    assert result.code == 2
    assert "there is no public key beside it" in result.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--from", "yesterday"), "is no date"),
        (("--from", "2026-11-23", "--to", "2026-11-22"), "is before"),
        (("--from", "2026-11-23", "--gateway", "gw9"), "there are: gw1"),
    ],
)
def test_a_wrong_wish_writes_no_file(cli: Cli, works: Path, tmp_path: Path, args: tuple[str, ...], words: str) -> None:
    result = cli("export-evidence", str(tmp_path / "x.mlev"), *args, "--headend", str(works / "headend.yaml"))
    assert result.code == 2
    assert words in result.err
    assert list(tmp_path.iterdir()) == []
