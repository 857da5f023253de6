"""One mail over SMTP: safe headers, encryption that cannot be stripped, an answer that says whether to try again."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path

from meterline.clock import NS
from meterline.errors import ConfigError, MeterlineError, Problem
from meterline.settings import Mail
from meterline.texts import Language

LONGEST_HEADER = 200
"""A header value beyond this is refused: no name on a meter's plate needs it."""
DEADLINE_S = 30.0
"""Longest silence of the mail server we wait for. [s]"""


class UnsafeHeader(MeterlineError, ValueError):
    """A header value that could become a header of its own, or that hides what it says."""


class MailLater(MeterlineError):
    """The server is away, busy or greylisting (RFC 5321: 4yz); the same mail may go later.

    Attributes
    ----------
    everyone : bool
        No mail can go now, not just this one.
    """

    def __init__(self, reason: str, *, everyone: bool) -> None:
        self.everyone = everyone
        super().__init__(reason)


class MailRefused(MeterlineError):
    """The server will never take this mail to this recipient (RFC 5321: 5yz)."""


def header_value(text: str) -> str:
    r"""Give `text` back if it may stand in a header.

    CPython before 3.12.5 decodes ``=?...?=`` words in a header that it is given as plain text, and writes what comes
    out, line breaks included, so that a meter named ``x =?UTF-8?Q?=0A?=Bcc: y@z`` would add a recipient
    (cpython#121650). A carriage return alone is accepted as well. So all of it is refused here.

    Raises
    ------
    UnsafeHeader
        Control characters, line or paragraph separators, ``=?``, or more than 200 characters.
    """
    if len(text) > LONGEST_HEADER:
        raise UnsafeHeader(f"a header of {len(text)} characters; {LONGEST_HEADER} are enough")
    if "=?" in text:
        raise UnsafeHeader("a header may not contain '=?'")
    if any(not character.isprintable() for character in text):
        raise UnsafeHeader("a header may not contain control characters or line breaks")
    return text


def made_safe(text: str) -> str:
    """What is left of a name from a file when it has to stand in a header: one printable line, not too long."""
    line = "".join(c if c.isprintable() else " " for c in text)
    while "=?" in line:
        line = line.replace("=?", "= ?")
    line = " ".join(line.split())
    return line if len(line) <= LONGEST_HEADER else line[: LONGEST_HEADER - 1] + "…"


@dataclass(frozen=True, slots=True)
class Draft:
    """What a mail says, before it is an e-mail.

    Attributes
    ----------
    subject
        Made safe already, or refused when the mail is built.
    charts
        Content id -> PNG, shown where the HTML says ``cid:``.
    """

    subject: str
    text: str
    html: str
    language: Language
    charts: tuple[tuple[str, bytes], ...] = ()


def build(
    draft: Draft,
    *,
    sender: str,
    recipient: str,
    name: str = "",
    message_id: str,
    about: Sequence[str] = (),
    wall_ns: int,
) -> bytes:
    """A mail as it goes over the wire (RFC 5322, multipart/alternative).

    Parameters
    ----------
    message_id
        With its angle brackets; the same mail sent again has the same one, so that a mailbox can tell.
    about
        Message ids of earlier mails on the same finding: the mailbox shows them as one thread.
    wall_ns
        Real time, for the Date header. [ns]

    Raises
    ------
    UnsafeHeader
    """
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = header_value(draft.subject)
    mail["From"] = Address(display_name="meterline", addr_spec=header_value(sender))
    mail["To"] = Address(display_name=header_value(name), addr_spec=header_value(recipient))
    mail["Date"] = formatdate(wall_ns / NS)
    mail["Message-ID"] = header_value(message_id)
    for header in ("In-Reply-To", "References"):
        if about:
            mail[header] = header_value(about[0])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers to a machine
    mail.set_content(draft.text)
    mail.add_alternative(draft.html, subtype="html")
    mail["Content-Language"] = "zh-CN" if draft.language == "zh" else "en"  # after: setting content clears it
    page = mail.get_payload()[1]  # type: ignore[index]
    for cid, png in draft.charts:
        page.add_related(png, "image", "png", cid=f"<{header_value(cid)}>", disposition="inline")  # type: ignore[union-attr]
    return mail.as_bytes()


class Mailer:
    """The way out: one connection a mail, encrypted and verified unless the file says ``security: none``.

    The password is read at the start, so that a missing one is found then and not with the first alarm.

    Parameters
    ----------
    settings, folder
        The ``mail`` part of the head-end's file, and where its password file is relative to.
    context
        Trust; the system's authorities if None.

    Raises
    ------
    ConfigError
        The password is not where the file says, or would travel in the clear.
    """

    def __init__(
        self,
        settings: Mail,
        folder: Path,
        *,
        context: ssl.SSLContext | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.settings, self._deadline_s = settings, deadline_s
        self._context = context or ssl.create_default_context()
        self._password = settings.login.password(folder) if settings.login else ""
        if settings.login and settings.security == "none":
            raise ConfigError(
                [Problem("headend.yaml", "mail", "a password over an open line", "use security: starttls or tls")]
            )

    def send(self, message: bytes, recipient: str) -> str:
        """Hand one mail to the server; gives its answer.

        Raises
        ------
        MailLater
            Nothing was taken; keep the mail and try again.
        MailRefused
            Never for this recipient.
        """
        where = f"{self.settings.host}:{self.settings.port}"
        try:
            server = self._connected()
            try:
                server.ehlo_or_helo_if_needed()
                self._sort(*server.mail(self.settings.sender), everyone=True)
                self._sort(*server.rcpt(recipient), everyone=False)
                code, answer = server.data(message)
                self._sort(code, answer, everyone=False)
                # The mail is theirs now; a server that says goodbye badly must not make us send it again.
                with contextlib.suppress(smtplib.SMTPException, OSError):
                    server.quit()
            finally:
                server.close()
        except smtplib.SMTPDataError as error:
            self._sort(error.smtp_code, error.smtp_error, everyone=False)
            raise
        except smtplib.SMTPAuthenticationError as error:
            raise MailLater(f"{where} refuses the login: {_words(error.smtp_error)}", everyone=True) from error
        except smtplib.SMTPNotSupportedError as error:
            raise MailLater(f"{where} offers no encryption (STARTTLS); nothing was sent", everyone=True) from error
        except smtplib.SMTPResponseException as error:
            raise MailLater(f"{where}: {error.smtp_code} {_words(error.smtp_error)}", everyone=True) from error
        except (smtplib.SMTPException, OSError) as error:
            raise MailLater(f"{where}: {str(error) or type(error).__name__}", everyone=True) from error
        except UnicodeEncodeError as error:
            raise MailRefused("the address has letters this server's protocol cannot carry") from error
        return f"{code} {_words(answer)}"

    def _connected(self) -> smtplib.SMTP:
        host, port = self.settings.host, self.settings.port
        if self.settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=self._deadline_s, context=self._context)
        else:
            server = smtplib.SMTP(host, port, timeout=self._deadline_s)
        try:
            if self.settings.security == "starttls":
                server.starttls(context=self._context)
            if self.settings.login is not None:
                server.login(self.settings.login.username, self._password)
        except BaseException:
            server.close()
            raise
        return server

    @staticmethod
    def _sort(code: int, answer: bytes | str, *, everyone: bool) -> None:
        if 500 <= code < 600 and not everyone:
            raise MailRefused(f"{code} {_words(answer)}")
        if not 200 <= code < 300:
            raise MailLater(f"{code} {_words(answer)}", everyone=everyone)


def _words(answer: bytes | str) -> str:
    """A server's answer as one safe line: it ends up in a log and on a page."""
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return made_safe(text)
