"""`commission` on the simulated factory: a record on the screen, as JSON and beside the site file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meterline.commission_record import proof_of
from meterline.paths import profiles_dir
from meterline.plant import load_plant
from tests.cli.running import Result
from tests.servers.processes import free_port
from tests.servers.waiting import wait_until
from tests.system.commands import Command

Cli = Callable[..., Result]

SITE = """\
site: {{id: works, name: {{en: Works, zh: "工厂"}}}}
energy_users: [{{id: works, name: {{en: Works, zh: "工厂"}}, level: organisation}}]
buses:
  - {{id: hall, kind: rtu-over-tcp, gateway: gw-1, host: 127.0.0.1, port: {rtu}}}
meters:
  - {{id: m-press, name: {{en: Press, zh: "冲床"}}, energy_user: works, profile: acrel-dtsd1352, bus: hall,
     address: "3", rated: 90, ratios: [{{valid_from: 2020-01-01, ct: "200/5"}}]}}
"""


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("works")
    site = folder / "site.yaml"
    site.write_text(SITE.format(rtu=free_port()), encoding="utf-8")
    factory = Command(folder / "factory.txt", "simulate", site)
    try:
        wait_until(lambda: "ready" in factory.said or not factory.running, within=20, what="the factory")
        assert factory.running, factory.said
        yield site
    finally:
        factory.clear_away()
    assert factory.exit_code(within=1) == 0


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second's watch with two readings."""
    monkeypatch.setattr("collector.commission.LEAST_REST_S", 0.2)


def _shown(cli: Cli, works: Path) -> str:
    """The display: what `read` decodes, which has tests of its own."""
    readings = cli("read", "m-press", "--site", str(works), "--json").json["readings"]
    return str(next(r["value"] for r in readings if r["measurand"] == "energy.active.import"))


def test_a_right_display_is_kept_as_proof(cli: Cli, works: Path) -> None:
    told = ("--display", f"kWh={_shown(cli, works)}", "--ct", "200/5", "--by", "Li", "--no-ask")
    result = cli("commission", "m-press", "--site", str(works), "--seconds", "1", *told, "--json")
    assert result.code == 0, result.out + result.err
    body = result.json
    assert (body["evidence"], body["by"], body["verdict"]) == ("captured", "Li", "open")
    states = {(check["code"], check["about"]): check["state"] for check in body["checks"]}
    assert states["ratio", "ct"] == states["display", "energy.active.import"] == states["wiring", ""] == "passed"
    kept = json.loads(Path(body["files"][0]).read_text(encoding="utf-8"))
    assert kept["frames"]
    assert kept["frames"][0]["request"].startswith("03")  # unit 3
    plant = load_plant(works, profiles_dir())
    proof = proof_of(works, "m-press", plant.profiles["acrel-dtsd1352"])
    assert proof is not None
    assert proof.by == "Li"
    assert "Profile proven on site for 1 of 1 meter(s): m-press" in cli("check", str(works)).out


def test_the_record_is_a_page_of_eighty_columns_in_both_languages(cli: Cli, works: Path) -> None:
    given = ("commission", "m-press", "--site", str(works), "--seconds", "1", "--no-ask", "--by", "Li")
    english, chinese = cli(*given), cli("--lang", "zh", *given)
    assert "Commissioning record" in english.out
    assert "?      display" in english.out or "?   display" in english.out
    assert "现场调试记录" in chinese.out
    newest = sorted((works.parent / "commissioning").glob("*.txt"))
    page = newest[0].read_text(encoding="utf-8")
    assert "U·I·PF" in page
    assert max(len(line) for line in page.splitlines()) <= 80


def test_a_wrong_ratio_is_exit_code_1(cli: Cli, works: Path) -> None:
    given = ("--seconds", "1", "--ct", "400/5", "--no-ask", "--no-save")
    result = cli("commission", "m-press", "--site", str(works), *given)
    assert result.code == 1
    assert "the plate says 400/5, the site file 200/5" in result.out


def test_what_a_person_says_is_asked_for(cli: Cli, works: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(f"Wang\n{_shown(cli, works)}\n200/5\n"))
    result = cli("commission", "m-press", "--site", str(works), "--seconds", "1", "--ask", "--no-save", "--json")
    assert result.code == 0, result.err
    body = json.loads(result.out.splitlines()[-1])
    assert body["by"] == "Wang"
    assert body["plates"] == {"ct": "200/5"}
    assert body["display"].keys() == {"energy.active.import"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("m-mian",), "no meter 'm-mian'"),
        (("m-press", "--display", "1234"), "cannot be read"),
        (("m-press", "--display", "kWh=12,5"), "is no number"),
        (("m-press", "--display", "energy.active.imprt=1"), "did you mean 'energy.active.import'"),
        (("m-press", "--ct", "200:5"), "write it as on the plate"),
    ],
)
def test_wrong_wishes_are_refused(cli: Cli, works: Path, arguments: tuple[str, ...], said: str) -> None:
    result = cli("commission", *arguments, "--site", str(works), "--no-ask")
    assert result.code == 2
    assert said in result.err
