"""The page of completeness and its JSON say what the ledger says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from headend.web.completeness import floor_percent, grade_of
from tests.headend.seeded import Seeded, seed


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    seeded = seed(tmp_path_factory.mktemp("headend"))
    yield seeded
    seeded.close()


@pytest.fixture
def client(seeded: Seeded) -> TestClient:
    return TestClient(seeded.app, base_url="http://127.0.0.1:8420", headers={"Accept-Language": "en"})


def test_a_day_as_json(client: TestClient) -> None:
    lines = {line["meter"]: line for line in client.get("/api/completeness?from=2026-03-02").json()}
    # 18:00 in Jinan: a slot a minute since midnight, but for the last two
    assert (lines["m-p1"]["expected"], lines["m-p1"]["received"], lines["m-p1"]["grade"]) == (1078, 1078, "whole")
    two = lines["m-p2"]
    assert (two["received"], two["silent"], two["unexplained"], two["grade"]) == (1018, {"silent": 60}, 0, "good")
    assert two["boundary"] is None
    assert "m-c2" not in lines or lines["m-c2"]["received"] == 0


def test_a_span_that_is_none_is_refused(client: TestClient) -> None:
    assert client.get("/api/completeness?from=2026-03-02&to=2026-03-01").status_code == 422
    assert client.get("/api/completeness?from=2026-01-01&to=2026-12-31").status_code == 422
    assert client.get("/api/completeness?from=soon").status_code == 422
    assert client.get("/completeness?month=2026-99").status_code == 404
    assert client.get("/completeness?day=never").status_code == 404


def test_the_page_shows_the_month_and_the_day(client: TestClient) -> None:
    page = client.get("/completeness").text
    assert "What became of each slot on 2026-03-02" in page
    assert re.search(
        r'class="cell good"><a href="[^"]*day=2026-03-02#day" title="2026-03-02: 1018/1078">94.4</a>', page
    )
    assert "silent <b" in page
    assert "← 2026-02" in page
    assert "2026-04 →" not in page, "there is no later month yet"
    assert "无应答 <b" in client.get("/completeness?lang=zh").text


def test_another_day_of_the_month(client: TestClient) -> None:
    page = client.get("/completeness?month=2026-03&day=2026-03-01").text
    assert "on 2026-03-01" in page
    assert "/1440" not in page, "the first readings came in the evening"


def test_the_plant_page_leads_there(client: TestClient) -> None:
    page = client.get("/").text
    assert re.search(r'<a href="/completeness"><b class="num">9[0-9.]+ %</b></a> of today', page)


def test_a_plant_without_any_reading(tmp_path: Path) -> None:
    empty = seed(tmp_path, empty=True)
    page = TestClient(empty.app, base_url="http://127.0.0.1:8420").get("/completeness?lang=en")
    assert page.status_code == 200
    assert "Nothing was expected of any meter" in page.text
    empty.close()


def test_almost_whole_is_not_whole() -> None:
    assert [floor_percent(share) for share in (1.0, 0.99999, 0.999, 0.9, 0.0)] == ["100", "99.9", "99.9", "90", "0"]
    assert [grade_of(share) for share in (1.0, 0.9999, 0.9, 0.8999, None)] == ["whole", "good", "good", "poor", "none"]
