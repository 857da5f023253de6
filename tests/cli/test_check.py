"""What `meterline check` says about a wrong file: the file, the place, the problem and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import SITE, Result, spawn

Cli = Callable[..., Result]


def test_right_files_are_summed_up(cli: Cli, site_folder: Path) -> None:
    result = cli("check", "--json", str(site_folder))
    assert result.code == 0
    (site,) = result.json["sites"]
    assert (site["site"], site["meters"], [bus["meters"] for bus in site["buses"]]) == ("east-works", 2, [1, 1])


def test_the_current_folder_is_the_default(cli: Cli, site_folder: Path) -> None:
    result = cli("check")
    assert result.code == 0
    assert "site.yaml: site East works" in result.out
    assert result.err == ""


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        # a typo in a key
        ('kind: modbus-tcp', 'kinds: modbus-tcp', ("buses[1].kinds (line 10)", "unknown key", "did you mean 'kind'?")),
        # a typo in a name
        ("bus: main-tcp", "bus: main-tpc",
         ("meters[0].bus (line 13)", "no bus 'main-tpc'", "did you mean 'main-tcp'?")),
        # an unquoted address: 012 would be ten
        ('address: "1"', "address: 012", ("meters[0].address (line 13)", "was read as a number", "put it in quotes")),
        # two meters on one address
        ('bus: hall-1-line, address: "7"', 'bus: main-tcp, address: "1"',
         ("meters[1].address (line 15)", "m-hall-1 and m-main both have address '1' on bus main-tcp", "change one")),
        ("profile: eastron-sdm630, bus: main-tcp", "profile: eastron-sdm360, bus: main-tcp",
         ("meters[0].profile (line 13)", "no profile 'eastron-sdm360'", "did you mean 'eastron-sdm630'?")),
        ("port: 4001}", "port: 4001", ("line", "not valid YAML", "check indentation")),
    ],
)  # fmt: skip
def test_a_wrong_site_names_file_place_problem_and_remedy(
    cli: Cli, site_folder: Path, right: str, wrong: str, said: tuple[str, ...]
) -> None:
    assert right in SITE
    (site_folder / "site.yaml").write_text(SITE.replace(right, wrong, 1), encoding="utf-8")
    result = cli("check", "site.yaml")
    assert result.code == 2
    assert result.out == ""
    for words in ("site.yaml", *said):
        assert words in result.err


def test_all_problems_of_all_files_come_at_once(cli: Cli, site_folder: Path) -> None:
    (site_folder / "site.yaml").write_text(
        SITE.replace("level: organisation", "level: organization").replace('address: "7"', "address: 7"), "utf-8"
    )
    (site_folder / "gateway.yaml").write_text("gateway: gw-1\nrate: {}\n", "utf-8")
    result = cli("check", "--json")
    assert result.code == 2
    places = {(Path(p["file"]).name, p["place"].split(" ")[0]) for p in result.json["problems"]}
    assert places == {
        ("site.yaml", "energy_users[0].level"),
        ("site.yaml", "meters[1].address"),
        ("gateway.yaml", "rate"),
    }


PROFILE = """\
profile: maker-model
revision: 1
title: {en: "A meter", zh: "表"}
protocol: modbus
carrier: electricity
source: "invented for this test"
evidence: unverified
value_reference: primary
points:
  - {measurand: power.active.total, at: 0, type: float32, unit: W}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("type: float32", "type: flaot32", ("points[0].type (line 10)", "'flaot32'", "did you mean 'float32'?")),
        ("power.active.total", "power.activ.total",
         ("points[0] (line 10)", "unknown measurand 'power.activ.total'", "did you mean 'power.active.total'?")),
        ("unit: W", "unit: kVA", ("points[0] (line 10)", "power.active.total is kept in kW", "check both")),
    ],
)  # fmt: skip
def test_a_wrong_profile_names_place_and_remedy(
    cli: Cli, tmp_path: Path, right: str, wrong: str, said: tuple[str, ...]
) -> None:
    file = tmp_path / "maker-model.yaml"
    file.write_text(PROFILE, "utf-8")
    assert cli("check", str(file)).code == 0
    file.write_text(PROFILE.replace(right, wrong), "utf-8")
    result = cli("check", str(file))
    assert result.code == 2
    for words in (str(file), *said):
        assert words in result.err


def test_a_value_no_request_can_hold_is_refused(cli: Cli, site_folder: Path) -> None:
    parts = "sum_of: [{at: 0}, {at: 500}], type: float32, unit: W"
    (site_folder / "profiles").mkdir()
    (site_folder / "profiles" / "maker-model.yaml").write_text(PROFILE.replace("at: 0, type: float32, unit: W", parts))
    site = SITE.replace("profile: eastron-sdm630, bus: main-tcp", "profile: maker-model, bus: main-tcp")
    (site_folder / "site.yaml").write_text(site, "utf-8")
    result = cli("check")
    assert result.code == 2
    assert "its parts span 502 words, one answer holds 125" in result.err


def test_a_folder_of_profiles_is_checked_and_used(cli: Cli, site_folder: Path) -> None:
    (site_folder / "mine").mkdir()
    (site_folder / "mine" / "maker-model.yaml").write_text(PROFILE, "utf-8")
    site = SITE.replace("profile: eastron-sdm630, bus: main-tcp", "profile: maker-model, bus: main-tcp")
    (site_folder / "site.yaml").write_text(site, "utf-8")
    assert cli("check", "site.yaml").code == 2
    assert cli("check", "site.yaml", "--profiles", "mine").code == 0


@pytest.mark.parametrize("name", ["nothing.yaml", "empty.yaml", "latin.yaml", "shopping.yaml"])
def test_a_file_that_is_none_of_ours(cli: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.yaml").write_text("", "utf-8")
    (tmp_path / "latin.yaml").write_bytes(b"site: caf\xe9\n")
    (tmp_path / "shopping.yaml").write_text("- milk\n", "utf-8")
    result = cli("check", str(tmp_path / name))
    assert result.code == 2
    assert name in result.err


def test_messages_come_in_chinese(site_folder: Path) -> None:
    (site_folder / "site.yaml").write_text(SITE.replace("bus: main-tcp", "bus: main-tpc"), "utf-8")
    for result in (
        spawn("--lang", "zh", "check", "site.yaml", cwd=site_folder),
        spawn("check", "site.yaml", cwd=site_folder, env={"METERLINE_LANG": "zh"}),
    ):
        assert result.code == 2
        assert "没有总线 'main-tpc'" in result.err
        assert "是否应为 'main-tcp'？" in result.err


def test_the_version_names_the_software(site_folder: Path) -> None:
    result = spawn("--version", cwd=site_folder)
    assert result.code == 0
    assert result.out.startswith("meterline 0.")
    assert spawn("--version", cwd=site_folder).out == result.out


def test_a_misspelt_option_is_wrong_input(site_folder: Path) -> None:
    assert spawn("check", "--jsn", cwd=site_folder).code == 2


def test_a_port_numbered_by_chance_is_warned_of(cli: Callable[..., Result], site_folder: Path) -> None:
    site = site_folder / "site.yaml"
    line = "kind: serial, gateway: gw-1, device: {device}}}   # the MOXA"
    old = "kind: rtu-over-tcp, gateway: gw-1, host: 127.0.0.1, port: 4001}   # the MOXA"
    text = site.read_text("utf-8")
    assert old in text
    site.write_text(text.replace(old, line.format(device="/dev/ttyUSB0")), "utf-8")
    result = cli("check")
    assert result.code == 0
    assert "bus hall-1-line: /dev/ttyUSB0 may be another adapter after the next start" in result.err
    site.write_text(text.replace(old, line.format(device="/dev/serial/by-id/usb-FTDI-if00-port0")), "utf-8")
    assert "another adapter" not in cli("check").err
