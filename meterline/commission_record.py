"""The record of a commissioning: what was checked at one meter, when, by whom, with the frames that prove it.

Records lie beside the site file, in ``commissioning/``, and are never changed. A record whose display checks passed
lifts the meter's profile to ``captured`` *for this installation*, as long as the page stays what it was then; the
shipped page itself says what its maker's sources say and is not touched.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from meterline.documents import Document, validate
from meterline.errors import ConfigError, Problem
from meterline.profiles import Profile

FOLDER = "commissioning"
State = Literal["passed", "failed", "unsure", "skipped"]


class RecordedCheck(Document):
    """One thing looked at; `say` and `values` tell it in any language."""

    code: str
    about: str = ""
    state: State
    say: str
    values: dict[str, str] = Field(default_factory=dict)


class RecordedFrame(Document):
    """One request and its answer, as hexadecimal."""

    request: str
    response: str


class CommissionRecord(Document):
    """One commissioning of one meter."""

    record: Literal[1] = 1
    meter: str
    site: str
    at: AwareDatetime
    by: str
    software: str
    profile: str
    """``name@revision``."""
    page: str
    """Digest of the profile page the meter was read with."""
    evidence_of_page: str
    """What the page itself says of its addresses."""
    line: str
    address: str
    seconds: float
    """How long the meter was watched. [s]"""
    checks: tuple[RecordedCheck, ...]
    display: dict[str, str] = Field(default_factory=dict)
    """Measurand -> what the person read on the display."""
    plates: dict[str, str] = Field(default_factory=dict)
    """What the person read on plates and instruments."""
    values: dict[str, str]
    """Measurand -> what was decoded, as displayed, in the canonical unit."""
    frames: tuple[RecordedFrame, ...] = ()

    @property
    def verdict(self) -> Literal["passed", "open", "failed"]:
        """Whether everything that could be checked is right; ``open``: something could not be told."""
        states = {check.state for check in self.checks}
        return "failed" if "failed" in states else "open" if "unsure" in states else "passed"

    @property
    def confirmed(self) -> tuple[str, ...]:
        """Measurands whose decoded value stood on the display."""
        return tuple(check.about for check in self.checks if check.code == "display" and check.state == "passed")

    @property
    def captured(self) -> bool:
        """Whether the page is proven for this meter: something agreed with the display and nothing disagreed."""
        wrong = any(check.code == "display" and check.state == "failed" for check in self.checks)
        return bool(self.confirmed) and not wrong

    @property
    def file_stem(self) -> str:
        """Name of its files, without suffix."""
        return f"{self.meter}-{self.at.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}"


def page_digest(profile: Profile) -> str:
    """A page as it was used: changes with every address, type, scale and unit, not with comments or layout."""
    beside = {"title", "source", "evidence", "probe", "marks", "line"}
    return hashlib.sha256(profile.model_dump_json(exclude=beside).encode()).hexdigest()[:16]


def save(record: CommissionRecord, site: Path, text: str) -> tuple[Path, Path]:
    """Write a record beside its site file, as JSON and as text.

    Returns
    -------
    tuple of Path
        The JSON file and the text file.

    Raises
    ------
    ConfigError
        The folder cannot be written to.
    """
    folder = site.parent / FOLDER
    json_file, text_file = folder / f"{record.file_stem}.json", folder / f"{record.file_stem}.txt"
    try:
        folder.mkdir(exist_ok=True)
        json_file.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        text_file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            [Problem(str(folder), "", f"cannot be written: {error.strerror}", "check its permissions")]
        ) from error
    return json_file, text_file


def records(site: Path) -> list[CommissionRecord]:
    """Every record beside a site file, oldest first.

    Raises
    ------
    ConfigError
        A file in the folder is no record.
    """
    found = []
    for path in sorted((site.parent / FOLDER).glob("*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError([Problem(str(path), "", "is no record of a commissioning", "move it away")]) from error
        found.append(validate(data, CommissionRecord, str(path)))
    return sorted(found, key=lambda record: record.at)


def proof_of(site: Path, meter: str, profile: Profile) -> CommissionRecord | None:
    """The newest record that proves a meter's page for this installation; None without one, or if the page changed."""
    return proofs(site, {meter: profile}).get(meter)


def proofs(site: Path, pages: Mapping[str, Profile]) -> dict[str, CommissionRecord]:
    """Meter -> the newest record that proves its page for this installation, for those that have one.

    Parameters
    ----------
    pages
        Meter -> the page it is read with now.

    Raises
    ------
    ConfigError
        A file in the folder is no record.
    """
    digests = {meter: page_digest(page) for meter, page in pages.items()}
    return {r.meter: r for r in records(site) if r.captured and digests.get(r.meter) == r.page}
