"""`meterline completeness` over a head-end's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headend.catalogue import Catalogue
from headend.completeness import Completeness
from headend.completeness_book import CompletenessBook
from headend.stores.embedded import EmbeddedStore
from meterline.readings import MissingSpan
from meterline.settings import load_headend
from meterline.wire import Health
from tests.cli.running import SITE, Result
from tests.headend.gateway_twin import FLOAT, Twin, poll

Cli = Callable[..., Result]
START = 1_772_380_800 * 10**9
"""2026-03-02 00:00 in Jinan. [ns]"""
MINUTE = 60 * 10**9
DAY = 1440


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("works")
    (folder / "site.yaml").write_text(SITE, encoding="utf-8")
    key = "gateways: [{id: gw-1, public_key: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='}]\n"
    (folder / "headend.yaml").write_text(key, encoding="utf-8")
    settings = load_headend(folder / "headend.yaml")
    twin, blocks = Twin("gw-1"), []
    for k in range(0, DAY, 15):
        slots = [START + (k + n) * MINUTE for n in range(15)]
        meters = ("m-main",) if 600 <= k < 900 else ("m-main", "m-hall-1")
        span = (MissingSpan("m-hall-1", START + 600 * MINUTE, START + 900 * MINUTE, "silent"),) if k == 600 else ()
        polls = [poll(m, slot, 1.0, 1.0, shape=FLOAT) for slot in slots for m in meters]
        blocks.append(twin.block(*polls, missing=span, at_ns=slots[-1] + 10**9))
    with EmbeddedStore(settings.data) as store:
        store.append(blocks)
        catalogue = Catalogue(settings.data)
        book = CompletenessBook(catalogue.path)
        figures = {"fast_s": 60.0, "normal_s": 60.0, "slow_s": 900.0}
        catalogue.put_health(
            Health("gw-1", twin.epoch, "running", START, 1, twin.seq + 1, twin.seq, "", False, figures), 0
        )
        Completeness(settings.plant, store, catalogue, book).once(START + 2 * DAY * MINUTE)
        book.close()
        catalogue.close()
    return folder


def test_a_day(cli: Cli, works: Path) -> None:
    body = cli("completeness", str(works / "headend.yaml"), "--day", "2026-03-02", "--json").json
    assert (body["expected"], body["received"], body["poor"]) == (2 * DAY, 2 * DAY - 300, 1)
    hall = body["days"][1]
    assert (hall["meter"], hall["received"], hall["silent"], hall["complete"]) == (
        "m-hall-1",
        1140,
        {"silent": 300},
        False,
    )


def test_a_day_below_the_limit_is_what_it_looks_for(cli: Cli, works: Path) -> None:
    result = cli("completeness", str(works / "headend.yaml"), "--day", "2026-03-02")
    assert result.code == 1
    assert "silent 300" in result.out
    assert "2026-03-02: 2580 of 2880 slots received, 89.5 %; meters below 90 %: 1" in result.out
    assert (
        "应收 2880，实收 2580"
        in cli("--lang", "zh", "completeness", str(works / "headend.yaml"), "--day", "2026-03-02").out
    )


def test_a_month(cli: Cli, works: Path) -> None:
    result = cli("completeness", str(works / "headend.yaml"), "--month", "2026-03")
    assert result.code == 1
    assert "meter days below 90 %" in result.out
    assert cli("completeness", str(works / "headend.yaml"), "--month", "2026-02").out.strip() == (
        "Nothing was expected of any meter in this time."
    )


@pytest.mark.parametrize(
    "wish", [("--day", "soon"), ("--month", "2026-13"), ("--day", "2026-03-01", "--month", "2026-03")]
)
def test_a_time_that_is_none(cli: Cli, works: Path, wish: tuple[str, ...]) -> None:
    assert cli("completeness", str(works / "headend.yaml"), *wish).code == 2


def test_a_head_end_that_never_ran(cli: Cli, works: Path, tmp_path: Path) -> None:
    for name in ("site.yaml", "headend.yaml"):
        (tmp_path / name).write_text((works / name).read_text(encoding="utf-8"), encoding="utf-8")
    assert cli("completeness", str(tmp_path / "headend.yaml")).code == 3
