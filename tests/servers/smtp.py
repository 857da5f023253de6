"""A mail server that keeps what it receives, and refuses on demand."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from tests.servers.processes import free_port


@dataclass(frozen=True)
class ReceivedMail:
    """One delivered message: envelope and content."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


class SmtpSink:
    """SMTP on 127.0.0.1:`port`. `refuse("451 try later", times=2)` refuses the next two messages at DATA."""

    def __init__(self) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.mails: list[ReceivedMail] = []
        self.refused = 0
        self._refusals: list[str] = []
        self._refused_recipients: dict[str, str] = {}
        self._controller: Controller | None = None

    def start(self) -> None:
        self._controller = Controller(self, hostname=self.host, port=self.port)
        self._controller.start()

    def stop(self) -> None:
        """Close the port: from now on the server cannot be reached, until `start`."""
        if self._controller is not None:
            self._controller.stop(no_assert=True)
            self._controller = None

    def refuse(self, answer: str, times: int = 1) -> None:
        """Answer the next `times` messages with this SMTP status line; 4xx is 'later', 5xx is 'never'."""
        self._refusals += [answer] * times

    def refuse_recipient(self, address: str, answer: str = "550 no such user") -> None:
        self._refused_recipients[address] = answer

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if address in self._refused_recipients:
            self.refused += 1
            return self._refused_recipients[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self._refusals:
            self.refused += 1
            return self._refusals.pop(0)
        self.mails.append(ReceivedMail(envelope.mail_from, tuple(envelope.rcpt_tos), bytes(envelope.content)))
        return "250 kept"


@pytest.fixture
def smtp_sink() -> Iterator[SmtpSink]:
    """Give a running mail server; `smtp_sink.mails` is what arrived."""
    sink = SmtpSink()
    sink.start()
    yield sink
    sink.stop()
