"""From the book to the mailbox: who is told what, how often, and what a mail says."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from analytics.findings import Finding, Severity
from headend.alerts.compose import Composer
from headend.alerts.mail import MailLater, MailRefused
from headend.alerts.mailbox import Mailbox
from headend.alerts.outbox import Outbox
from headend.alerts.rules import Notifier
from headend.findings import FindingsBook, Looked
from headend.stores.api import Span
from meterline.clock import NS, ManualClock
from meterline.plant import Plant
from meterline.settings import Alerts, Recipient
from tests.headend.small_plant import HOUR, MINUTE, T0, small_plant
from tests.headend.test_findings_book import finding

LI = Recipient(address="li@works.example", name="Li Wei", language="zh")
ANN = Recipient(address="ann@works.example", name="Ann", energy_users=("press",))
BOSS = Recipient(address="boss@works.example", severity="alarm")


class Head:
    """A head-end's mail side, from findings to what the mail server took; may be restarted."""

    def __init__(self, path: Path, plant: Plant, *recipients: Recipient, **composer: object) -> None:
        self.path, self.plant, self.recipients, self.rest = path, plant, recipients, composer
        self.clock = ManualClock(T0)
        self.mails: list[tuple[str, EmailMessage]] = []
        self.moods: dict[str, Exception] = {}
        self.silent: dict[str, int] = {}
        self.open()

    def open(self) -> None:
        self.book = FindingsBook(self.path, self.plant)
        self.outbox = Outbox(self.path)
        self.notifier = Notifier(
            self.path,
            book=self.book,
            outbox=self.outbox,
            plant=self.plant,
            alerts=Alerts(recipients=self.recipients, digest_s=60, remind_h=24),
            composer=Composer(self.plant, page="http://127.0.0.1:8420", **self.rest),  # type: ignore[arg-type]
            sender="meterline@works.example",
            wall=self.clock,
        )

    def restart(self) -> None:
        self.book.close()
        self.outbox.close()
        self.open()
        self.outbox.recover()

    def send(self, message: bytes, recipient: str) -> str:
        if recipient in self.moods:
            raise self.moods[recipient]
        parsed = email.message_from_bytes(message, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        self.mails.append((recipient, parsed))
        return "250 ok"

    def minute(self, *findings: Finding, minutes: int = 1) -> None:
        """Some time of the plant: one pass, one step of the notices, one delivery."""
        self.clock.advance(60 * minutes)
        now = self.clock.t_ns
        looked = {m: Looked(self.silent.get(m, now), MINUTE) for m in self.plant.meters}
        self.book.observe(findings, looked, now)
        self.notifier.step(now)
        self.outbox.deliver(self, now)

    def subjects(self, recipient: Recipient | None = None) -> list[str]:
        return [str(m["Subject"]) for r, m in self.mails if recipient is None or r == recipient.address]


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Callable[..., Head]]:
    heads: list[Head] = []

    def make(*recipients: Recipient, plant: Plant | None = None, **composer: object) -> Head:
        heads.append(Head(tmp_path / "catalogue.sqlite", plant or small_plant(), *recipients, **composer))
        return heads[-1]

    yield make
    for made in heads:
        made.book.close()
        made.outbox.close()


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def test_an_alarm_is_told_once_and_its_end_once(head: Callable[..., Head]) -> None:
    h = head(ANN)
    f = finding("stuck", "m-p1", T0)
    for _ in range(30):
        h.minute(f)
    for _ in range(30):
        h.minute()
    assert h.subjects() == [
        "[ALARM] Jinan works · Meter m-p1 · Value is frozen",
        "[OVER] Jinan works · Meter m-p1 · Value is frozen",
    ]
    first, second = (mail for _, mail in h.mails)
    assert second["References"] == first["Message-ID"]
    assert "Good data have come since" in text_of(second)


def test_who_is_told_and_in_which_language(head: Callable[..., Head]) -> None:
    h = head(LI, ANN, BOSS)
    found = [finding("stuck", "m-c1", T0), finding("overload", "m-p1", T0, severity=Severity.WARNING)]
    found += [finding("counter_rollover", "m-p2", T0, T0 + MINUTE, severity=Severity.INFO)]
    for _ in range(5):
        h.minute(*found)
    assert h.subjects(LI) == ["[报警] 济南工厂：2 项异常"]
    assert h.subjects(ANN) == ["[WARNING] Jinan works · Meter m-p1 · Power above rating"]
    assert h.subjects(BOSS) == ["[ALARM] Jinan works · Meter m-c1 · Value is frozen"]


def test_flapping_is_few_mails(head: Callable[..., Head]) -> None:
    """FAULTS H06, peers #25: half a day of coming and going, ten minutes each."""
    h = head(ANN)
    for _ in range(36):
        start = h.clock.t_ns
        for _ in range(10):
            h.minute(finding("stuck", "m-p1", start))
        for _ in range(10):
            h.minute()
    assert h.book.entry(1).times == 36
    assert 2 <= len(h.mails) <= 24, "at most one coming and one going an hour"
    assert len(h.book.entries(now_ns=h.clock.t_ns)) == 1


def test_a_thing_that_comes_back_and_stays_is_told(head: Callable[..., Head]) -> None:
    h = head(ANN)
    for _ in range(5):
        h.minute(finding("stuck", "m-p1", T0))
    for _ in range(10):
        h.minute()
    assert len(h.mails) == 2
    again = finding("stuck", "m-p1", h.clock.t_ns)
    for _ in range(70):
        h.minute(again)
    assert h.subjects()[2:] == ["[ALARM, AGAIN] Jinan works · Meter m-p1 · Value is frozen"]
    assert "come back 2 times" in text_of(h.mails[-1][1])


def test_restarts_while_firing_neither_lose_nor_repeat(head: Callable[..., Head]) -> None:
    """FAULTS H08: a restart between any two steps."""
    h = head(ANN)
    f = finding("stuck", "m-p1", T0)
    for n in range(40):
        h.clock.advance(30)
        now = h.clock.t_ns
        found = [f] if n < 20 else []
        h.book.observe(found, {m: Looked(now, MINUTE) for m in h.plant.meters}, now)
        h.restart()
        h.notifier.step(now)
        h.restart()
        h.outbox.deliver(h, now)
        h.restart()
    assert [s[:6] for s in h.subjects()] == ["[ALARM", "[OVER]"]


def test_a_silent_meter_resolves_nothing_and_is_an_alarm_itself(head: Callable[..., Head]) -> None:
    """FAULTS H10: the line is cut while an overload stands."""
    h = head(ANN)
    for _ in range(5):
        h.minute(finding("overload", "m-p1", T0, severity=Severity.WARNING))
    cut = h.clock.t_ns
    h.silent["m-p1"] = cut
    for _ in range(60):
        h.minute(finding("gap", "m-p1", cut))
    assert [s.split(" · ")[-1] for s in h.subjects()] == ["Power above rating", "Meter is silent"]
    assert "unknown" in {e.what for e in h.book.history(1)}
    del h.silent["m-p1"]
    for _ in range(10):
        h.minute(finding("gap", "m-p1", cut, cut + 60 * MINUTE))
    assert sorted(h.subjects()[2:]) == ["[OVER] Jinan works: 2 findings"]


def test_a_cut_line_is_one_mail_that_names_the_line(head: Callable[..., Head]) -> None:
    h = head(ANN)
    h.silent = {"m-p2": T0, "m-p3": T0}
    for _ in range(10):
        h.minute(finding("gap", "m-p2", T0), finding("gap", "m-p3", T0))
    assert h.subjects() == ["[ALARM] Jinan works · line-2 · Line is silent: no meter on it answers"]
    body = text_of(h.mails[0][1])
    assert "line: line-2: /dev/ttyS1 9600 8N1" in body
    assert "gateway: gw-1" in body
    assert "Meter m-p2, Meter m-p3" in body
    assert "meterline monitor line-2" in body


def test_nobody_acknowledged_it_so_it_is_told_again_until_someone_does(head: Callable[..., Head]) -> None:
    h = head(ANN)
    f = finding("stuck", "m-p1", T0)
    for _ in range(49 * 6):
        h.minute(f, minutes=10)
    assert [s[:12] for s in h.subjects()] == ["[ALARM] Jina", "[STILL OPEN]", "[STILL OPEN]"]
    h.book.acknowledge(1, who="Ann", why="on my way", now_ns=h.clock.t_ns)
    for _ in range(30 * 6):
        h.minute(f, minutes=10)
    assert len(h.mails) == 3


def test_replayed_history_is_not_mailed(head: Callable[..., Head]) -> None:
    """FAULTS H07: a gateway delivers a three-day-old peak."""
    h = head(ANN)
    h.clock.advance(72 * 3600)
    for _ in range(10):
        h.minute(finding("overload", "m-p1", T0, T0 + HOUR))
    assert h.mails == []
    assert len(h.book.entries(now_ns=h.clock.t_ns)) == 1


def test_a_day_without_mail_server_becomes_one_digest(head: Callable[..., Head]) -> None:
    """FAULTS H01: the first mail, then one digest with everything that came meanwhile."""
    h = head(ANN)
    h.moods = {ANN.address: MailLater("connection refused", everyone=True)}
    meters = ["m-p1", "m-p2", "m-p3"]
    found: list[Finding] = []
    for n in range(22 * 60):
        if n % 400 == 0 and meters:
            found.append(finding("stuck", meters.pop(), h.clock.t_ns))
        h.minute(*found)
    assert h.mails == []
    h.moods = {}
    for _ in range(60):
        h.minute(*found)
    assert h.subjects() == ["[ALARM] Jinan works · Meter m-p3 · Value is frozen", "[ALARM] Jinan works: 2 findings"]


def test_a_recipient_who_does_not_exist_is_told_to_another(head: Callable[..., Head]) -> None:
    """FAULTS H03."""
    h = head(ANN, LI)
    h.moods = {ANN.address: MailRefused("550 5.1.1 no such user")}
    for _ in range(20):
        h.minute(finding("stuck", "m-p1", T0))
    assert h.subjects() == ["[报警] 济南工厂 · Meter m-p1 表 · 数值冻结", "发往 ann@works.example 的邮件无法送达"]
    assert "550 5.1.1 no such user" in text_of(h.mails[1][1])


def test_what_a_mail_says(head: Callable[..., Head]) -> None:
    h = head(ANN, LI, simulated=True)
    f = finding(
        "off_hours", "m-p1", T0, severity=Severity.WARNING, confidence=0.85, energy_kwh=12.34567,
        evidence={"expected_kw": 3.2, "threshold_kw": 5.0, "mean_kw": 17.25},
    )  # fmt: skip
    for _ in range(15):
        h.minute(f)
    (_, english), (_, chinese) = h.mails
    body = " ".join(text_of(english).split())
    for said in (
        "SIMULATED",
        "[WARNING] Uses energy outside working hours Jinan works · Meter m-p1 · finding #1",
        "When: since 2026-03-02 16:00:00, for 2 min so far",
        "Energy affected: 12.35 kWh",
        "Evidence (confidence 85 %) - expected: 3.2 kW - threshold: 5 kW - seen, mean: 17.25 kW",
        "- meter: Meter m-p1 (m-p1) - line: line-1: 127.0.0.1:5020 (modbus-tcp) - address: 2 - gateway: gw-1",
        "- energy user: Works › Press shop",
        "1. Which machine was left on?",
        "Page: http://127.0.0.1:8420/findings/1",
        "Times are plant time (Asia/Shanghai, UTC+08:00)",
    ):
        assert said in body, f"{said!r} is not in {body!r}"
    zh = " ".join(text_of(chinese).split())
    for said in (
        "[警告] 非工作时间用电偏高",
        "济南工厂 · Meter m-p1 表",
        "涉及能量: 12.35 kWh",
        "全厂 › 冲压车间",
        "模拟数据",
    ):
        assert said in zh, f"{said!r} is not in {zh!r}"


def test_a_mail_shows_the_curve(head: Callable[..., Head]) -> None:
    asked: list[tuple[str, str, Span]] = []

    def curve_of(meter: str, measurand: str, span: Span) -> tuple[list[int], list[float | None]]:
        asked.append((meter, measurand, span))
        t_ns = list(range(span.start_ns, span.end_ns, MINUTE))
        return t_ns, [None if 20 < n < 30 else 10.0 + n % 7 for n in range(len(t_ns))]

    h = head(LI, curve_of=curve_of)
    for _ in range(15):
        h.minute(finding("overload", "m-p1", T0, evidence={"rated_kw": 14.0, "peak_kw": 16.0}))
    (_, mail) = h.mails[0]
    (picture,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    assert picture.get_content().startswith(b"\x89PNG")
    assert f"cid:{picture['Content-ID'].strip('<>')}" in text_of(mail, "html")
    meter, measurand, span = asked[0]
    assert (meter, measurand) == ("m-p1", "power.active.total")
    assert span.start_ns <= T0 - 2 * HOUR


def test_names_cannot_bend_the_html_or_the_headers(head: Callable[..., Head]) -> None:
    evil = "<script>alert(1)</script>\r\nBcc: thief@example.org =?UTF-8?Q?=0A?="
    h = head(ANN, plant=small_plant(m_p1=evil, site="<img src=x onerror=alert(2)>"))
    for _ in range(5):
        h.minute(finding("stuck", "m-p1", T0))
    (_, mail) = h.mails[0]
    assert mail["Bcc"] is None
    page = text_of(mail, "html")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page


def test_the_demo_mailbox_keeps_mails_as_files(tmp_path: Path) -> None:
    from headend.alerts.mailbox import Mailbox as Box
    from tests.headend.test_mail import mail_with, mailer

    box: Mailbox = Box(tmp_path / "mailbox")
    port = box.start()
    try:
        for subject in ("[报警] 济南工厂 · 电表无数据", "../../etc/passwd"):
            mailer(port).send(mail_with(subject), "li@works.example")
    finally:
        box.stop()
    first, second = box.mails()
    assert (first.name, second.name) == ("0001-报警-济南工厂-电表无数据.eml", "0002-etc-passwd.eml")
    parsed = email.message_from_bytes(first.read_bytes(), policy=email.policy.default)
    assert parsed["Subject"] == "[报警] 济南工厂 · 电表无数据"


def test_an_event_is_told_once_whatever_the_clock_says(head: Callable[..., Head]) -> None:
    h = head(ANN)
    h.minute(finding("stuck", "m-p1", T0))
    for _ in range(5):
        h.notifier.step(h.clock.t_ns + 70 * NS)
    h.outbox.deliver(h, h.clock.t_ns)
    assert len(h.mails) == 1
