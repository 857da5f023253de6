"""Mails survive: a server that is down, busy, refusing, hanging; and a crash between sending and knowing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.alerts.delivery import Delivery
from headend.alerts.mail import Mailer, MailLater, MailRefused
from headend.alerts.outbox import GIVE_UP_NS, LONGEST_RETRY_NS, Outbox
from meterline.clock import NS, SystemClock
from meterline.settings import Mail
from tests.servers.smtp import SmtpSink
from tests.servers.waiting import wait_until

T0 = 1_772_438_400 * NS


class PowerCut(BaseException):
    """The process ends here."""


class Server:
    """Takes mails, or does what `moods` says, one by one."""

    def __init__(self, *moods: Exception | BaseException | None) -> None:
        self.moods = list(moods)
        self.taken: list[tuple[str, bytes]] = []

    def send(self, message: bytes, recipient: str) -> str:
        mood = self.moods.pop(0) if self.moods else None
        if isinstance(mood, PowerCut):  # the server has it, we never learn
            self.taken.append((recipient, message))
        if mood is not None:
            raise mood
        self.taken.append((recipient, message))
        return "250 ok"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "catalogue.sqlite")
    yield box
    box.close()


def put(box: Outbox, key: str, recipient: str = "li@works.example", at: int = T0) -> int:
    return box.put(
        key=key, message_id=f"<{key}@works>", recipient=recipient, subject=key, message=key.encode(), entries=[1],
        wall_ns=at, plant_ns=at,
    )  # fmt: skip


def test_the_same_key_is_one_mail(outbox: Outbox) -> None:
    assert put(outbox, "a") == put(outbox, "a")
    server = Server()
    assert outbox.deliver(server, T0) == 1
    assert put(outbox, "a") == 1
    assert outbox.deliver(server, T0) == 0
    assert server.taken == [("li@works.example", b"a")]


def test_a_day_without_a_server_loses_nothing_and_keeps_the_order(outbox: Outbox) -> None:
    """FAULTS H01: attempts back off, nothing is lost, the order stays."""
    away = MailLater("connection refused", everyone=True)
    server, attempts = Server(), 0
    for key in "abc":
        put(outbox, key)
    for minute in range(24 * 60):
        server.moods = [away]
        outbox.deliver(server, T0 + minute * 60 * NS)
        attempts += not server.moods
    assert 96 <= attempts <= 110, "every quarter of an hour after the first few"
    server.moods = []
    back = T0 + 24 * 3600 * NS + LONGEST_RETRY_NS
    assert outbox.deliver(server, back) == 3
    assert [message for _, message in server.taken] == [b"a", b"b", b"c"]


def test_greylisting_holds_up_one_recipient_only(outbox: Outbox) -> None:
    """FAULTS H02."""
    put(outbox, "a", "grey@works.example")
    put(outbox, "b", "grey@works.example")
    put(outbox, "c", "li@works.example")
    server = Server(MailLater("451 greylisted", everyone=False))
    assert outbox.deliver(server, T0) == 1
    assert server.taken == [("li@works.example", b"c")]
    assert outbox.stuck("grey@works.example")
    assert not outbox.stuck("li@works.example")
    assert outbox.deliver(server, T0 + NS) == 0
    assert outbox.deliver(server, T0 + 60 * NS) == 2
    assert [m for _, m in server.taken] == [b"c", b"a", b"b"]


def test_one_refused_recipient_does_not_touch_the_others(outbox: Outbox) -> None:
    """FAULTS H03."""
    for n, who in enumerate(("li", "gone", "wang")):
        put(outbox, f"k{n}", f"{who}@works.example")
    server = Server(None, MailRefused("550 no such user"), None)
    assert outbox.deliver(server, T0) == 2
    assert outbox.counts() == {"sent": 2, "refused": 1}
    (refused,) = outbox.untold()
    assert (refused.recipient, refused.answer) == ("gone@works.example", "550 no such user")
    outbox.mark_told(refused.id)
    assert outbox.untold() == []


def test_a_crash_after_the_server_took_it_repeats_it_at_most_once(tmp_path: Path) -> None:
    """FAULTS H05: same bytes, same Message-ID, never a third time."""
    path = tmp_path / "catalogue.sqlite"
    server = Server(PowerCut(), PowerCut(), None, None)
    first = True
    for _ in range(4):
        box = Outbox(path)
        if first:
            put(box, "a")
            first = False
        box.recover()
        try:
            box.deliver(server, T0 + 1)
        except PowerCut:
            pass
        finally:
            box.close()
    assert server.taken == [("li@works.example", b"a")] * 2
    box = Outbox(path)
    assert [mail.state for mail in box.mails()] == ["unsure"]
    assert [mail.recipient for mail in box.untold()] == ["li@works.example"]
    box.close()


def test_after_five_days_it_is_given_up_and_said(outbox: Outbox) -> None:
    put(outbox, "a")
    server = Server(MailLater("away", everyone=True))
    outbox.deliver(server, T0 + GIVE_UP_NS + NS)
    (mail,) = outbox.untold()
    assert mail.state == "refused"
    assert "five days: away" in mail.answer


WHAT: dict[str, tuple[BaseException, ...]] = {
    "ok": (),
    "later": (MailLater("later", everyone=False),),
    "down": (MailLater("down", everyone=True),),
    "cut": (PowerCut(),),
    "cut before": (KeyboardInterrupt(),),
}
MOODS = st.lists(st.sampled_from(sorted(WHAT)), min_size=1, max_size=30)


@given(MOODS)
def test_every_mail_ends_somewhere_and_none_comes_three_times(
    tmp_path_factory: pytest.TempPathFactory, moods: list[str]
) -> None:
    """Law: whatever the server does and whenever the power goes, a mail is taken, or still there, or named unsure."""
    path = tmp_path_factory.mktemp("outbox") / "c.sqlite"
    box = Outbox(path)
    for key in "abc":
        put(box, key)
    server, now = Server(), T0
    for mood in moods:
        now += LONGEST_RETRY_NS
        server.moods = list(WHAT[mood])
        try:
            box.deliver(server, now)
        except (PowerCut, KeyboardInterrupt):
            box.close()
            box = Outbox(path)
            box.recover()
    taken = [message for _, message in server.taken]
    for mail in box.mails():
        assert taken.count(mail.key.encode()) <= 2
        if mail.state == "sent":
            assert mail.key.encode() in taken
    box.close()


def test_the_thread_sends_and_outlives_a_server_that_is_away(tmp_path: Path, smtp_sink: SmtpSink) -> None:
    box = Outbox(tmp_path / "catalogue.sqlite")
    clock = SystemClock()
    settings = Mail(host="127.0.0.1", port=smtp_sink.port, security="none", sender="m@works.example")
    smtp_sink.stop()
    put(box, "a", at=clock.now_ns())
    delivery = Delivery(box, Mailer(settings, tmp_path, deadline_s=2), clock, every_s=0.05)
    stopping = threading.Event()
    thread = threading.Thread(target=delivery.run, args=(stopping,))
    thread.start()
    try:
        wait_until(lambda: box.stuck("li@works.example"), what="the first attempt to fail")
        smtp_sink.start()
        put(box, "b", "wang@works.example", at=clock.now_ns())
        wait_until(lambda: smtp_sink.mails, what="a mail to another recipient")
    finally:
        stopping.set()
        thread.join(10)
    assert smtp_sink.mails[0].recipients == ("wang@works.example",)
    assert box.counts() == {"waiting": 1, "sent": 1}
    box.close()
