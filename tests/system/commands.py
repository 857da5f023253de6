"""The shipped commands as processes, the way a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.servers.waiting import wait_until

METERLINE = Path(sys.executable).parent / "meterline"


class Command:
    """`meterline ARGUMENTS` in its own process group, with its output in a file."""

    def __init__(self, output: Path, *arguments: str | Path) -> None:
        self.arguments = [str(argument) for argument in arguments]
        self._output = output
        environment = os.environ | {"METERLINE_LANG": "en", "COLUMNS": "200"}
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                [METERLINE, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    def interrupt(self) -> None:
        """What Ctrl-C sends."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL: no chance to write anything down."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def exit_code(self, within: float) -> int:
        """Wait for its end.

        Raises
        ------
        AssertionError
            It did not end in time; what it said is in the message.
        """
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.arguments} still runs after {within} s:\n{self.said[-3000:]}") from None

    def clear_away(self) -> None:
        """At the end of a test, however it went."""
        if self.running:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def run(*arguments: str | Path, within: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [str(METERLINE), *(str(argument) for argument in arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=within, stdin=subprocess.DEVNULL, check=False,
        env=os.environ | {"METERLINE_LANG": "en"},
    )  # fmt: skip


def status(headend_file: Path) -> dict[str, Any] | None:
    """What `meterline status --json` prints; None while the head-end has not made its files."""
    done = run("status", "--json", headend_file)
    if done.returncode == 3:
        return None
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def page(port: int, path: str, *, within: float = 5.0) -> Any:
    """What the page's JSON says."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=within) as answer:
        return json.loads(answer.read())


def page_or_none(port: int, path: str) -> Any:
    """The same, None while nobody answers there."""
    try:
        return page(port, path)
    except OSError:
        return None


def processes_naming(text: str) -> list[str]:
    """Command lines of running processes that contain `text`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if text in line and int(folder.name) != os.getpid():
            found.append(line)
    return found


def wait_for_output(command: Command, text: str, within: float) -> None:
    wait_until(lambda: text in command.said or not command.running, within=within, what=f"{text!r} in the output")
    assert text in command.said, command.said[-3000:]
