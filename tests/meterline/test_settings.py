"""The files of gateway and head-end: every problem of every file at once, before any I/O."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from meterline.errors import ConfigError
from meterline.journal_budget import kept_bytes_per_day
from meterline.settings import Login, load_gateway, load_headend

SITE = """
site: {id: plant, name: {en: Plant, zh: 工厂}}
energy_users: [{id: works, name: {en: Works, zh: 工厂}, level: organisation}]
buses: [{id: line-1, kind: modbus-tcp, gateway: gw1, host: 127.0.0.1, port: 1502}]
meters:
  - {id: m1, name: {en: Main, zh: 总表}, energy_user: works, profile: eastron-sdm630, bus: line-1, address: "1"}
"""
GATEWAY = "gateway: gw1\n"
HEADEND = "gateways: [{id: gw1, public_key: abc}]\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in {"site": SITE, "gateway": GATEWAY, "headend": HEADEND, **files}.items():
        (folder / f"{name}.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def test_defaults_are_enough(tmp_path: Path) -> None:
    write(tmp_path)
    gateway, headend = load_gateway(tmp_path / "gateway.yaml"), load_headend(tmp_path / "headend.yaml")
    assert gateway.id == "gw1"
    assert gateway.data == tmp_path / "gateway-data"
    assert gateway.file.journal.keep_days == 183
    assert headend.data == tmp_path / "headend-data"
    assert headend.file.web.host == "127.0.0.1"


def test_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, site=SITE.replace('"1"', "1"), gateway="gatway: gw1\ncommit_s: 0\n")
    with pytest.raises(ConfigError) as caught:
        load_gateway(tmp_path / "gateway.yaml")
    assert {Path(problem.file).name for problem in caught.value.problems} == {"gateway.yaml", "site.yaml"}
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("headend", "says"),
    [
        (HEADEND + "web: {host: 0.0.0.0}\n", "0.0.0.0"),
        ("gateways: [{id: gw1}]\n", "meterline gateway --show-key"),
        (HEADEND + "alerts: {recipients: [{address: a@b.cn}]}\n", "no mail server"),
        (HEADEND + "mail: {host: h, sender: s@b}\nalerts: {recipients: [{address: 'a b@c'}]}\n", "may not be used"),
        (
            HEADEND + "mail: {host: h, sender: s@b}\nalerts: {recipients: [{address: a@b, energy_users: [x]}]}\n",
            "no energy user 'x'",
        ),
    ],
)
def test_a_headend_that_cannot_work_is_refused(tmp_path: Path, headend: str, says: str) -> None:
    write(tmp_path, headend=headend)
    with pytest.raises(ConfigError) as caught:
        load_headend(tmp_path / "headend.yaml")
    assert says in str(caught.value)


def test_a_gateway_without_a_line_is_refused(tmp_path: Path) -> None:
    write(tmp_path, gateway="gateway: gw2\n")
    with pytest.raises(ConfigError, match="belongs to gateway 'gw2'; the site names: gw1"):
        load_gateway(tmp_path / "gateway.yaml")


def test_a_quota_that_cannot_hold_half_a_year_is_refused_with_the_one_that_can(tmp_path: Path) -> None:
    meter = SITE[SITE.index("  - {id: m1") :]
    meters = "".join(meter.replace("m1", f"m{n}").replace('"1"', f'"{n}"') for n in range(1, 101))
    write(tmp_path, site=SITE[: SITE.index("  - {id: m1")] + meters, gateway="gateway: gw1\n")
    gateway = load_gateway(tmp_path / "gateway.yaml")
    values = sum(len(gateway.plant.profile_of(meter).points) for meter in gateway.plant.site.meters)
    per_day = kept_bytes_per_day(gateway.plant, "gw1")
    assert per_day > values * 96 * 8, "4 bytes a reading in the journal and as many of raw frames are measured"
    enough = -(-per_day * 183 // 1_000_000)
    write(tmp_path, site=SITE[: SITE.index("  - {id: m1")] + meters,
          gateway=f"gateway: gw1\njournal: {{quota_mb: {enough}}}\n")  # fmt: skip
    assert load_gateway(tmp_path / "gateway.yaml").file.journal.quota_mb == enough
    (tmp_path / "gateway.yaml").write_text(f"gateway: gw1\njournal: {{quota_mb: {enough - 1}}}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"183 days of quarter-hour values; these meters need at least {enough} MB"):
        load_gateway(tmp_path / "gateway.yaml")


def test_secrets_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("s3cret\n", encoding="utf-8")
    assert Login(username="u", password_file="secret").password(tmp_path) == "s3cret"
    monkeypatch.setenv("BROKER_PASSWORD", "other")
    assert Login(username="u", password_env="BROKER_PASSWORD").password(tmp_path) == "other"
    monkeypatch.delenv("BROKER_PASSWORD")
    with pytest.raises(ConfigError, match="export it"):
        Login(username="u", password_env="BROKER_PASSWORD").password(tmp_path)
    with pytest.raises(ConfigError, match="password file"):
        Login(username="u", password_file="absent").password(tmp_path)
