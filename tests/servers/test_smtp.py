"""The mail sink keeps messages whole and refuses when told."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage

import pytest

from tests.servers.smtp import SmtpSink


def alarm(to: str = "fitter@plant.example") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "meterline@plant.example", to, "1号变压器 silent"
    mail.set_content("电表没有应答\n")
    return mail


def send(sink: SmtpSink, mail: EmailMessage) -> None:
    with smtplib.SMTP(sink.host, sink.port, timeout=5) as smtp:
        smtp.send_message(mail)


def test_a_mail_arrives_whole(smtp_sink: SmtpSink) -> None:
    send(smtp_sink, alarm())
    (mail,) = smtp_sink.mails
    assert (mail.sender, mail.recipients) == ("meterline@plant.example", ("fitter@plant.example",))
    assert mail.message["Subject"] == "1号变压器 silent"
    assert mail.message.get_content() == "电表没有应答\r\n"  # lines end in CRLF on the wire


def test_refusals_are_counted_and_end(smtp_sink: SmtpSink) -> None:
    smtp_sink.refuse("451 4.7.1 greylisted", times=1)
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(smtp_sink, alarm())
    assert refused.value.smtp_code == 451
    send(smtp_sink, alarm())
    assert (smtp_sink.refused, len(smtp_sink.mails)) == (1, 1)


def test_one_recipient_can_be_unknown(smtp_sink: SmtpSink) -> None:
    smtp_sink.refuse_recipient("gone@plant.example")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(smtp_sink, alarm("gone@plant.example"))
    assert smtp_sink.mails == []


def test_a_stopped_server_cannot_be_reached_and_comes_back(smtp_sink: SmtpSink) -> None:
    smtp_sink.stop()
    with pytest.raises(ConnectionRefusedError):
        send(smtp_sink, alarm())
    smtp_sink.start()
    send(smtp_sink, alarm())
    assert len(smtp_sink.mails) == 1
