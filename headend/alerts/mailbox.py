"""A mailbox for the demo: an SMTP server on the loopback that writes every mail it gets as an ``.eml`` file."""

from __future__ import annotations

import email
import email.policy
import re
import socket
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from meterline.errors import Unreachable


class Mailbox:
    """Listen on 127.0.0.1 and keep mails as files, named by number and subject.

    Parameters
    ----------
    folder
        Made if it is not there; mails of earlier runs stay and are counted on.
    port
        0 chooses a free one.

    Raises
    ------
    Unreachable
        By `start`: the port is in use.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port or _free_port()  # the controller connects to itself at the start, so it must know
        self._controller = Controller(
            _Handler(folder), hostname="127.0.0.1", port=self.port, ready_timeout=10.0, ident="meterline demo mailbox"
        )

    def start(self) -> int:
        """Start listening in a thread; gives the port."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._controller.start()
        except OSError as error:
            raise Unreachable(
                f"127.0.0.1:{self.port}", str(error.strerror or error), "choose another port for the mailbox"
            ) from error
        return self.port

    def stop(self) -> None:
        """Stop listening."""
        self._controller.stop(no_assert=True)

    def mails(self) -> list[Path]:
        """Every mail that has arrived, the oldest first."""
        return sorted(self.folder.glob("*.eml"))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class _Handler:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        content = bytes(envelope.content)
        subject = str(email.message_from_bytes(content, policy=email.policy.default)["Subject"] or "")
        number = len(list(self._folder.glob("*.eml"))) + 1
        # letters of any script stay readable; whatever could leave the folder does not
        title = re.sub(r"[^\w]+", "-", subject).strip("-")[:60]
        path = self._folder / f"{number:04d}-{title}.eml"
        part = path.with_suffix(".part")
        part.write_bytes(content)
        part.replace(path)
        return "250 kept"
