"""The page and its JSON: true numbers, gaps that stay gaps, nobody else's scripts, nobody else's hand."""

from __future__ import annotations

import datetime as dt
import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
from fastapi.testclient import TestClient

from headend import web
from headend.alerts.outbox import MailState
from headend.entries import State
from headend.web import serve_in_thread
from headend.web.marks import percent, spark_path
from headend.web.shown import Grade, MeterState
from headend.web.texts import TEXTS
from meterline.errors import StoreUnavailable, Unreachable
from meterline.measurands import Carrier
from meterline.readings import Quality, Source
from meterline.wire import unseal, verify
from tests.headend.seeded import NOW, SILENT, SIZE_KW, Seeded, load_kw, seed
from tests.headend.small_plant import HOUR, MINUTE, small_plant

PAGES = [
    "/",
    "/meters/m-p2",
    "/meters/m-c2",
    "/findings",
    "/findings?show=history",
    "/findings/1",
    "/energy",
    "/energy?period=week",
    "/completeness",
    "/completeness?month=2026-02&day=2026-02-10",
    "/system",
]
HEAD_END = [*PAGES, "/api/overview", "/api/status", "/api/nothing", "/nothing", "/static/style.css"]


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    seeded = seed(tmp_path_factory.mktemp("headend"))
    yield seeded
    seeded.close()


@pytest.fixture
def client(seeded: Seeded) -> TestClient:
    """A browser that has just been opened."""
    return TestClient(seeded.app, base_url="http://127.0.0.1:8420", headers={"Accept-Language": "en"})


def iso_ns(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000) * 10**6


# --- what is said is true


def test_overview_says_what_the_meters_said(client: TestClient) -> None:
    plant = client.get("/api/overview").json()
    assert (plant["site"], plant["meters"], plant["fresh"], plant["simulated"]) == ("jinan", 6, 5, True)
    meters = {m["id"]: m for user in plant["users"] for m in user["meters"]}
    for meter in SIZE_KW:
        assert meters[meter]["now"]["value"] == pytest.approx(load_kw(meter, NOW - MINUTE), abs=5e-4)
        assert meters[meter]["now"]["unit"] == "kW"
        assert meters[meter]["state"] == "fresh"
        midnight = NOW - 18 * HOUR
        counted = sum(load_kw(meter, t) / 60 for t in range(midnight, NOW, MINUTE))
        assert meters[meter]["today"]["value"] == pytest.approx(counted, abs=2.0)
    assert meters["m-c2"]["state"] == "never"
    assert meters["m-c2"]["now"] is None
    assert meters["m-c2"]["today"]["value"] is None, "nothing known is not nothing used"
    works = next(user for user in plant["users"] if user["id"] == "works")
    assert works["carriers"][0]["now"]["value"] == meters["m-main"]["now"]["value"], "the feeder, not feeder plus subs"
    assert (works["ok"], works["silent"]) == (5, ["m-c2"])


def test_a_gap_is_a_gap_in_curve_and_sparkline_and_estimated_in_the_bars(client: TestClient) -> None:
    curve = client.get("/api/meters/m-p2/curve?hours=6").json()
    inside = [v for t, v in zip(curve["t"], curve["value"], strict=True) if SILENT[0] < iso_ns(t) < SILENT[1] - MINUTE]
    assert inside != []
    assert set(inside) == {None}
    assert [f["severity"] for f in curve["findings"]] == ["alarm"]
    assert (iso_ns(curve["findings"][0]["start"]), iso_ns(curve["findings"][0]["end"])) == SILENT
    plant = client.get("/api/overview").json()
    spark = next(m["spark"] for u in plant["users"] for m in u["meters"] if m["id"] == "m-p2")
    assert spark[24 - 12 + 1 : 24 - 1] == [None] * 10, "five hours ago to four hours ago, five minutes a point"
    bars = client.get("/api/meters/m-p2/intervals?resolution=15min&hours=6").json()
    grades = {iso_ns(b["start"]): b["grade"] for b in bars}
    assert grades[SILENT[0] + 15 * MINUTE] == "estimated"
    assert grades[SILENT[1] + 15 * MINUTE] == "measured"
    total = sum(b["value"] for b in bars if SILENT[0] - HOUR <= iso_ns(b["start"]) < SILENT[1] + HOUR)
    true = sum(load_kw("m-p2", t) / 60 for t in range(SILENT[0] - HOUR, SILENT[1] + HOUR, MINUTE))
    assert total == pytest.approx(true, abs=2.0), "the energy of the gap is there, once"


def test_a_thinned_curve_still_shows_the_peak(client: TestClient) -> None:
    curve = client.get("/api/meters/m-c1/curve?hours=12&most=50").json()
    assert len(curve["t"]) <= 52
    assert max(v for v in curve["high"] if v is not None) == 160.0
    assert curve["suspect"] != []


def test_times_are_plant_time_with_their_offset(client: TestClient) -> None:
    site = client.get("/api/site").json()
    assert site["now"] == "2026-03-02T18:00:00.000+08:00"
    same = [
        client.get("/api/meters/m-p1/curve", params={"start": start, "end": end}).json()
        for start, end in (
            ("2026-03-02T16:00", "2026-03-02T17:00"),
            ("2026-03-02T08:00+00:00", "2026-03-02T09:00:00Z"),
        )
    ]
    assert same[0] == same[1]
    assert (same[0]["t"][0], len(same[0]["t"])) == ("2026-03-02T16:00:00.000+08:00", 60)


def test_a_number_on_the_page_leads_to_the_bytes_its_gateway_signed(seeded: Seeded, client: TestClient) -> None:
    page = client.get("/meters/m-p2").text
    found = re.search(r'href="(/api/evidence/gw-1/[0-9a-f]+/\d+)".*?title="SHA-256">([0-9a-f]{64})<', page, re.DOTALL)
    assert found
    message = client.get(found[1]).content
    assert verify(message, seeded.twins["gw-1"].public).hex() == found[2]
    newest = [p for p in unseal(message).polls if p.meter == "m-p2"][-1]
    assert newest.slot_ns == NOW - MINUTE
    assert round(load_kw("m-p2", newest.slot_ns) * 1000) in newest.numbers
    span = {"start": "2026-03-02T17:00", "end": "2026-03-02T18:00"}
    listed = client.get("/api/meters/m-p2/evidence", params=span).json()
    assert [e["url"] for e in listed if e["digest"] == found[2]] == [found[1]]
    assert client.get("/api/evidence/gw-1/00/1").status_code == 404


def test_findings_by_state_and_meter(client: TestClient) -> None:
    everything = client.get("/api/findings").json()
    assert [f["id"] for f in everything] == [4, 3, 2, 1]
    lasting = client.get("/api/findings?state=open&state=acknowledged").json()
    assert {f["kind"] for f in lasting} == {"overload", "phase_voltage_loss"}
    assert [f["kind"] for f in client.get("/api/findings?meter=m-p2").json()] == ["gap"]
    assert [f["id"] for f in client.get("/api/findings?before=3&most=1").json()] == [2]
    one = client.get("/api/findings/3").json()
    assert (one["energy"], one["energy_unit"], one["title"]["zh"], one["end"]) == (12.7, "kWh", "功率超过额定值", None)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/meters/nobody", 404), ("/api/meters/nobody/curve", 404), ("/api/findings/99", 404),
        ("/api/meters/m-p1/curve?measurand=colour", 422), ("/api/meters/m-p1/curve?start=yesterday", 422),
        ("/api/meters/m-p1/curve?start=2026-03-02T18:00&end=2026-03-02T17:00", 422),
        ("/api/meters/m-p1/curve?hours=1e9", 422), ("/api/meters/m-p1/curve?most=1000000", 422),
        ("/api/meters/m-p1/intervals?resolution=15min&hours=8000", 422), ("/api/findings?state=sad", 422),
        ("/meters/nobody", 404), ("/findings/99", 404), ("/static/../app.py", 404), ("/static/%2e%2e/app.py", 404),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused(client: TestClient, path: str, status: int) -> None:
    assert client.get(path).status_code == status


def test_the_json_is_described(client: TestClient) -> None:
    openapi = client.get("/api/openapi.json").json()
    assert {"/api/overview", "/api/meters/{meter}/curve", "/api/findings"} <= set(openapi["paths"])
    for path, name in (("/api/overview", "Overview"), ("/api/meters/m-p2/curve", "CurveData"), ("/api/site", "Site")):
        schema = {"$ref": f"#/components/schemas/{name}", "components": openapi["components"]}
        jsonschema.validate(client.get(path).json(), schema)


# --- pages


class Page(HTMLParser):
    """What a browser would load, run and let a person press."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline_scripts = 0
        self.handlers: list[str] = []
        self.words = ""
        self.fields: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.handlers += [name for name in given if name.startswith("on")]
        if tag == "script" and "src" not in given:
            self.inline_scripts += 1
        self.loads += [given[name] for name in ("src", "href", "action", "srcset", "poster", "data") if name in given]
        if tag == "input":
            self.fields[given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_in_both_languages(client: TestClient, path: str, language: str) -> None:
    answer = client.get(
        path, params={"lang": language} if "?" not in path else None, headers={"Accept-Language": language}
    )
    assert answer.status_code == 200
    page = Page(answer.text)
    assert ("工厂" in page.words) == (language == "zh")
    assert "SIMULATED" in page.words or "模拟" in page.words
    assert "2026-03-02 18:00:00" in page.words
    assert "{" not in page.words, "a text was not filled in"
    assert page.inline_scripts == 0
    assert page.handlers == []
    assert [load for load in page.loads if not load.startswith(("/", "#"))] == [], "nothing is loaded from elsewhere"


def test_every_local_thing_a_page_loads_is_there(client: TestClient) -> None:
    loads = {load.split("#")[0] for path in PAGES for load in Page(client.get(path).text).loads}
    assert any("plotly" in load for load in loads)
    for load in sorted(loads - {""}):
        if not load.endswith("/acknowledge"):
            assert client.get(load).status_code == 200, load


def test_language_is_chosen_kept_and_switched(client: TestClient) -> None:
    assert "Energy users" in client.get("/").text
    assert "用能单位" in client.get("/", headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}).text
    assert "用能单位" in client.get("/?lang=zh").text
    assert "用能单位" in client.get("/").text, "the choice stays"
    page = client.get("/findings?show=history&lang=zh").text
    assert "/findings?show=history&amp;lang=en" in page


def test_an_empty_plant_explains_itself(tmp_path: Path) -> None:
    empty = seed(tmp_path, empty=True)
    client = TestClient(empty.app, base_url="http://localhost")
    for path in PAGES:
        assert client.get(path).status_code == (404 if path == "/findings/1" else 200)
    words = Page(client.get("/").text).words
    assert "No reading has arrived yet" in words
    assert "0 of 6" in words
    assert "Nothing has been heard of this meter yet" in client.get("/meters/m-p1").text
    empty.close()


def test_a_store_that_cannot_be_read_is_said(
    seeded: Seeded, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> object:
        raise StoreUnavailable("the disk is gone")

    monkeypatch.setattr(seeded.queries, "latest", fail)
    assert client.get("/api/overview").status_code == 503
    page = client.get("/")
    assert page.status_code == 503
    assert "the disk is gone" in page.text


# --- nobody else's scripts, nobody else's hand


@pytest.mark.parametrize("path", HEAD_END)
def test_every_answer_has_safe_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers


# FAULTS S24: stored in names by whoever writes the site file or the acknowledgement
XSS = [
    "<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "</title><script>alert(1)</script>",
    "\u2028<script>alert(1)</script>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
]


@pytest.fixture(scope="module")
def bent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """A plant whose names are all attacks."""
    names = dict(zip(("m_main", "m_p1", "m_p2", "m_p3", "m_c1", "m_c2"), XSS, strict=False))
    bent = seed(tmp_path_factory.mktemp("bent"), hours=8, plant=small_plant(site=" ".join(XSS[6:]), **names))
    for number, text in enumerate(XSS[:4], start=1):
        bent.book.acknowledge(number, who=text[:80], why=text, now_ns=NOW)
    yield bent
    bent.close()


@pytest.mark.parametrize("path", PAGES)
def test_names_are_text_and_nothing_else(bent: Seeded, path: str) -> None:
    client = TestClient(bent.app, base_url="http://127.0.0.1")
    text = client.get(path).text
    page = Page(text)
    assert page.inline_scripts == 0
    assert page.handlers == []
    assert [load for load in page.loads if not load.startswith(("/", "#"))] == []
    assert not re.search(r"<(svg onload|iframe|img)", text)
    assert "49" not in page.words.split()


def test_json_with_bent_names_is_no_page(bent: Seeded) -> None:
    answer = TestClient(bent.app, base_url="http://127.0.0.1").get("/api/overview")
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.text)["users"][0]["meters"][0]["name"]["en"] == XSS[0]


def form_of(client: TestClient, number: int) -> dict[str, str]:
    return Page(client.get(f"/findings/{number}").text).fields


def test_a_person_acknowledges(seeded: Seeded, client: TestClient) -> None:
    fields = form_of(client, 3) | {"who": "Li Wei", "why": "second press off until Monday"}
    answer = client.post("/findings/3/acknowledge", data=fields, follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/findings/3")
    assert seeded.book.entry(3).acknowledged_by == "Li Wei"
    assert seeded.book.entry(3).state(NOW) is State.ACKNOWLEDGED
    assert "Li Wei" in Page(client.get("/findings/3").text).words


def test_without_a_name_nothing_is_acknowledged(seeded: Seeded, client: TestClient) -> None:
    answer = client.post("/findings/4/acknowledge", data=form_of(client, 4) | {"who": "  "})
    assert answer.status_code == 422
    assert "Say who you are" in answer.text
    assert seeded.book.entry(4).acknowledged_ns is None


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        ({"token": ""}, {}),
        ({"token": "0" * 64}, {}),
        ({"token": "é"}, {}),
        ({}, {"Origin": "http://evil.example"}),
        ({}, {"Origin": "null"}),
        ({}, {"Sec-Fetch-Site": "cross-site"}),
        ({}, {"Sec-Fetch-Site": "same-site"}),
        ({}, {"Cookie": ""}),
    ],
)
def test_no_other_page_acknowledges(
    seeded: Seeded, client: TestClient, change: dict[str, str], headers: dict[str, str]
) -> None:
    fields = form_of(client, 4) | {"who": "Mallory"} | change
    if headers.get("Cookie") == "":
        client.cookies.clear()
    answer = client.post("/findings/4/acknowledge", data=fields, headers=headers)
    assert answer.status_code == 403
    assert seeded.book.entry(4).acknowledged_ns is None


def test_programs_acknowledge_but_browsers_of_other_pages_do_not(seeded: Seeded, client: TestClient) -> None:
    path, by = "/api/findings/2/acknowledge", {"who": "MES", "why": "ticket 4711"}
    assert client.post(path, json=by, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post(path, json={"who": ""}).status_code == 422
    assert client.post(path, data=by).status_code == 422, "a plain form, as another page could send it, is not JSON"
    assert seeded.book.entry(2).acknowledged_ns is None
    assert client.post(path, json=by).json()["acknowledged_by"] == "MES"
    assert client.post("/api/findings/99/acknowledge", json=by).status_code == 404


def test_a_form_larger_than_a_form_is_refused(client: TestClient) -> None:
    assert client.post("/findings/4/acknowledge", data={"why": "x" * 10_000}).status_code == 413


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "169.254.169.254"])
def test_other_names_are_not_answered(client: TestClient, host: str) -> None:
    """DNS rebinding: a page elsewhere points its own name at this machine."""
    answer = client.get("/api/overview", headers={"Host": host})
    assert answer.status_code == 421
    assert "m-main" not in answer.text


# --- serving


def test_served_on_the_loopback_only(seeded: Seeded) -> None:
    with pytest.raises(ValueError, match=r"loopback"):
        serve_in_thread(seeded.app, "0.0.0.0", 0)
    serving = serve_in_thread(seeded.app, "127.0.0.1", 0)
    try:
        assert serving.port > 0
        with urllib.request.urlopen(f"{serving.url}/api/site", timeout=10) as answer:
            assert json.load(answer)["id"] == "jinan"
        with pytest.raises(Unreachable, match=r"headend\.yaml"):
            serve_in_thread(seeded.app, "127.0.0.1", serving.port)
    finally:
        serving.stop()
    with socket.create_server(("127.0.0.1", serving.port)):
        pass  # the port is free again


# --- small marks


def test_a_sparkline_breaks_where_nothing_is_known() -> None:
    path = spark_path([1.0, 2.0, None, None, 1.0, None, 3.0, 3.0])
    assert path.count("M") == 3
    assert "h0" in path, "a lone value is a dot"
    assert spark_path([None, None]) == ""
    assert "nan" not in spark_path([0.0, 0.0])


def test_almost_all_is_not_all() -> None:
    assert [percent(x) for x in (0.0, 0.0001, 0.5, 0.996, 0.9999, 1.0)] == ["0", "1", "50", "99", "99", "100"]


def test_every_text_has_both_languages() -> None:
    assert len(TEXTS.rows("en")) == len(TEXTS.rows("zh")) > 100
    for key, text in TEXTS.rows("zh").items():
        letters = re.sub(r"{\w+}", "", text)
        assert key == "nav.language" or not re.search(r"[a-z]", letters) or re.search(r"[\u4e00-\u9fff]", text), key


def test_every_text_a_page_asks_for_is_there() -> None:
    asked = set()
    for template in (Path(web.__file__).parent / "templates").glob("*.html"):
        asked |= set(re.findall(r"\bt\(\s*[\"']([\w.]+)[\"']\s*[,)]", template.read_text(encoding="utf-8")))
    assert len(asked) > 60
    assert sorted(key for key in asked if key not in TEXTS) == []
    for prefix, rest in (
        ("bit.", [q.name.lower() for q in Quality if q.name]),
        ("q.", get_args(Grade)),
        ("state.", get_args(MeterState)),
        ("mail.", get_args(MailState)),
        ("source.", list(Source)),
        ("ev.", ["opened", "reopened", "worsened", "unknown", "known", "returned", "absorbed", "acknowledged"]),
        ("", list(Carrier)),
    ):
        assert [name for name in rest if prefix + name not in TEXTS] == []
