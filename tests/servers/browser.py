"""Headless Chromium: what a person would see of a page, as a picture or as the document after its scripts ran."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.servers.programs import require

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--metrics-recording-only",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--mute-audio",
)


class Chromium:
    """One browser call a question, each with a new empty profile. Times are the page's own (virtual) milliseconds."""

    def __init__(self, directory: Path) -> None:
        self._program = require("chromium")
        self._directory = directory
        self._calls = 0

    def screenshot(self, url: str, *, width: int = 1280, height: int = 900, page_ms: int = 5000) -> Path:
        """Take a picture of the page after `page_ms`; returns the PNG."""
        picture = self._directory / f"page{self._calls}.png"
        self._run(url, page_ms, f"--window-size={width},{height}", f"--screenshot={picture}")
        if not picture.exists():
            raise RuntimeError(f"chromium took no picture of {url}")
        return picture

    def dump_dom(self, url: str, *, page_ms: int = 5000) -> str:
        """Return the document as it stands after `page_ms` of scripts, as HTML."""
        return self._run(url, page_ms, "--dump-dom")

    def _run(self, url: str, page_ms: int, *arguments: str) -> str:
        profile = self._directory / f"profile{self._calls}"
        self._calls += 1
        command = [
            self._program.path,
            *FLAGS,
            f"--user-data-dir={profile}",
            f"--virtual-time-budget={page_ms}",
            *arguments,
            url,
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=50,
            env=self._program.environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"chromium failed ({done.returncode}): {done.stderr[-800:]}")
        return done.stdout


@pytest.fixture
def chromium(tmp_path: Path) -> Chromium:
    """Give a headless browser; needs the marker `needs_chromium`."""
    return Chromium(tmp_path)
