"""One mail: headers that cannot be bent, encryption that cannot be stripped, answers sorted by what to do next."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from hypothesis import given
from hypothesis import strategies as st

from headend.alerts.mail import (
    LONGEST_HEADER,
    Draft,
    Mailer,
    MailLater,
    MailRefused,
    UnsafeHeader,
    build,
    header_value,
    made_safe,
)
from meterline.errors import ConfigError
from meterline.settings import Login, Mail
from tests.headend.mail_servers import make_authority, scripted_server
from tests.servers.processes import free_port
from tests.servers.smtp import SmtpSink

# FAULTS M17, S22, H11: each of these has made some mail program or library write a header it was not asked for
INJECTIONS = [
    "x\nBcc: thief@example.org",
    "x\r\nBcc: thief@example.org",
    "x\rBcc: thief@example.org",
    "x =?UTF-8?Q?=0A?=Bcc: thief@example.org",  # cpython#121650
    "x =?utf-8?b?CkJjYzogdGhpZWZAZXhhbXBsZS5vcmc=?=",
    "x\x00Bcc: thief@example.org",
    "x\x0bBcc: thief@example.org",
    "x\x0cBcc: thief@example.org",
    "x\x85Bcc: thief@example.org",
    "x\u2028Bcc: thief@example.org",
    "x\u2029Bcc: thief@example.org",
    "==??UTF-8?Q?=0A?=Bcc: thief@example.org",
    "\ufeff=?x",
]
EXPECTED_HEADERS = {
    "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "Content-Language", "MIME-Version", "Content-Type",
}  # fmt: skip


def mail_with(subject: str) -> bytes:
    return build(
        Draft(subject=subject, text="body\n", html="<p>body</p>", language="en"),
        sender="meterline@works.example",
        recipient="li@works.example",
        name="Li Wei",
        message_id="<1@works.example>",
        wall_ns=1_772_438_400 * 10**9,
    )


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_bent_header_is_refused(text: str) -> None:
    with pytest.raises(UnsafeHeader):
        header_value(text)
    with pytest.raises(UnsafeHeader):
        mail_with(text)


def test_a_header_that_is_too_long_is_refused() -> None:
    assert header_value("x" * LONGEST_HEADER)
    with pytest.raises(UnsafeHeader):
        header_value("x" * (LONGEST_HEADER + 1))


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_bent_name_still_makes_a_mail_with_our_headers_only(text: str) -> None:
    raw = mail_with(made_safe(f"[ALARM] {text}: silent"))
    assert set(parsed(raw).keys()) == EXPECTED_HEADERS
    head = raw.split(b"\r\n\r\n", 1)[0]
    assert not [line for line in head.split(b"\r\n") if line.lower().startswith(b"bcc")]
    assert parsed(raw)["Bcc"] is None


@given(st.text(max_size=400))
def test_whatever_the_name_is_what_is_left_of_it_is_safe(text: str) -> None:
    safe = made_safe(text)
    assert header_value(safe) == safe
    message = parsed(mail_with(safe or "x"))
    assert set(message.keys()) == EXPECTED_HEADERS


def test_chinese_and_pictures_arrive() -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(40)
    raw = build(
        Draft("[报警] 济南工厂 · 电表无数据", "正文\n", "<img src='cid:a@b'>", "zh", (("a@b", png),)),
        sender="meterline@works.example",
        recipient="li@works.example",
        message_id="<2@works.example>",
        about=("<1@works.example>",),
        wall_ns=1_772_438_400 * 10**9,
    )
    message = parsed(raw)
    assert message["Subject"] == "[报警] 济南工厂 · 电表无数据"
    assert (message["References"], message["Content-Language"]) == ("<1@works.example>", "zh-CN")
    plain, page = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None and plain.get_content().replace("\r\n", "\n") == "正文\n"  # noqa: PT018
    assert page is not None
    (picture,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert (picture["Content-ID"], picture.get_content()) == ("<a@b>", png)


# --- over the wire


def mailer(port: int, security: str = "none", **rest: object) -> Mailer:
    settings = Mail(host="127.0.0.1", port=port, security=security, sender="meterline@works.example")  # type: ignore[arg-type]
    return Mailer(settings, Path(), **rest)  # type: ignore[arg-type]


def test_a_mail_is_taken(smtp_sink: SmtpSink) -> None:
    assert mailer(smtp_sink.port).send(mail_with("silent"), "li@works.example") == "250 kept"
    (mail,) = smtp_sink.mails
    assert (mail.sender, mail.recipients) == ("meterline@works.example", ("li@works.example",))
    assert mail.message["Subject"] == "silent"


def test_no_server_greylisting_and_never_are_three_things(smtp_sink: SmtpSink) -> None:
    smtp_sink.refuse("451 4.7.1 greylisted, try again later")
    with pytest.raises(MailLater) as later:
        mailer(smtp_sink.port).send(mail_with("x"), "li@works.example")
    assert not later.value.everyone
    smtp_sink.refuse("554 5.7.1 we do not like this")
    with pytest.raises(MailRefused, match="554"):
        mailer(smtp_sink.port).send(mail_with("x"), "li@works.example")
    smtp_sink.refuse_recipient("gone@works.example", "550 5.1.1 no such user")
    with pytest.raises(MailRefused, match="no such user"):
        mailer(smtp_sink.port).send(mail_with("x"), "gone@works.example")
    smtp_sink.refuse_recipient("full@works.example", "452 4.2.2 mailbox full")
    with pytest.raises(MailLater, match="mailbox full"):
        mailer(smtp_sink.port).send(mail_with("x"), "full@works.example")
    smtp_sink.stop()
    with pytest.raises(MailLater) as down:
        mailer(smtp_sink.port).send(mail_with("x"), "li@works.example")
    assert down.value.everyone
    assert smtp_sink.mails == []


HELLO = (b"ehlo", b"250 works\r\n")


def test_a_server_that_hangs_is_left_after_the_deadline() -> None:
    """FAULTS H04."""
    script = (HELLO, (b"mail", b"250 ok\r\n"), (b"rcpt", b"250 ok\r\n"), (b"data", b"354 go\r\n"), (b".", None))
    with scripted_server(*script) as (port, _), pytest.raises(MailLater) as later:
        mailer(port, deadline_s=0.2).send(mail_with("x"), "li@works.example")
    assert later.value.everyone


def test_a_server_that_says_goodbye_badly_has_the_mail_all_the_same() -> None:
    script = (
        HELLO, (b"mail", b"250 ok\r\n"), (b"rcpt", b"250 ok\r\n"), (b"data", b"354 go\r\n"), (b".", b"250 mine\r\n"),
        (b"quit", None),
    )  # fmt: skip
    with scripted_server(*script) as (port, _):
        assert mailer(port, deadline_s=0.2).send(mail_with("x"), "li@works.example") == "250 mine"


def test_encryption_that_was_stripped_on_the_way_sends_nothing() -> None:
    """FAULTS S22: the server's offer of STARTTLS was cut out by someone between us and it."""
    with scripted_server((b"ehlo", b"250-works\r\n250 SIZE 1000000\r\n"), (b"quit", b"221 bye\r\n")) as (port, got):
        with pytest.raises(MailLater, match="STARTTLS"):
            mailer(port, "starttls").send(mail_with("x"), "li@works.example")
        assert not [line for line in got if line[:4].lower() in (b"mail", b"auth")]


class Sink:
    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:
        self.mails.append(bytes(getattr(envelope, "content")))  # noqa: B009
        return "250 kept"


def test_starttls_is_used_and_verified(tmp_path: Path) -> None:
    server, trusting = make_authority(tmp_path)
    sink = Sink()
    port = free_port()
    controller = Controller(sink, hostname="127.0.0.1", port=port, tls_context=server, require_starttls=True)
    controller.start()
    try:
        assert mailer(port, "starttls", context=trusting).send(mail_with("x"), "li@works.example") == "250 kept"
        with pytest.raises(MailLater, match="certificate"):
            mailer(port, "starttls").send(mail_with("x"), "li@works.example")
        with pytest.raises(MailLater, match="530"):
            mailer(port, "none").send(mail_with("x"), "li@works.example")
    finally:
        controller.stop(no_assert=True)
    assert len(sink.mails) == 1


def test_a_password_never_travels_in_the_clear_and_is_missed_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "secret")
    login = Login(username="meterline", password_env="MAIL_PASSWORD")
    settings = Mail(host="127.0.0.1", security="none", login=login, sender="m@works.example")
    with pytest.raises(ConfigError, match="starttls"):
        Mailer(settings, Path())
    monkeypatch.delenv("MAIL_PASSWORD")
    with pytest.raises(ConfigError, match="MAIL_PASSWORD"):
        Mailer(settings.model_copy(update={"security": "starttls"}), Path())
