"""The other two files of an installation: one for each gateway, one for the head-end.

Secrets never stand in a file that is shared: a password is read from the file or the environment variable named, and
is masked wherever settings are shown.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from meterline.documents import Document, read_document
from meterline.errors import ConfigError, Problem
from meterline.journal_budget import needed_mb
from meterline.paths import profiles_dir
from meterline.plant import Id, Plant, load_plant


class Login(Document):
    """A user name, and where its password is."""

    username: str
    password_file: str | None = None
    password_env: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.password_file is None) == (self.password_env is None):
            raise ValueError("a login needs its password's place; give either 'password_file' or 'password_env'")
        return self

    def password(self, folder: Path) -> str:
        """Read the secret.

        Raises
        ------
        ConfigError
            The file or the variable is not there.
        """
        if self.password_env is not None:
            value = os.environ.get(self.password_env)
            if value is None:
                raise ConfigError(
                    [Problem("environment", self.password_env, "is not set", "export it before starting")]
                )
            return value
        path = folder / str(self.password_file)
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(
                [Problem(str(path), "", f"password file: {error.strerror}", "create it, mode 600")]
            ) from error


class Broker(Document):
    """The MQTT 5 broker both sides meet at."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    tls: bool = False
    ca_file: str | None = None
    """Authority of the broker's certificate; the system's own ones unless given."""
    cert_file: str | None = None
    key_file: str | None = None
    """Our own certificate and its key, where the broker knows its clients by that (``require_certificate``)."""
    login: Login | None = None

    @model_validator(mode="after")
    def _certificates_need_tls(self) -> Self:
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError("certificates are only of use with 'tls: true'; add it, or take them out")
        return self


class Rates(Document):
    """What the rate classes of the profiles mean here. Slots are aligned to these, counted from 1970 UTC."""

    fast_s: Annotated[float, Field(gt=0, le=86_400)] = 60
    normal_s: Annotated[float, Field(gt=0, le=86_400)] = 60
    slow_s: Annotated[float, Field(gt=0, le=86_400)] = 900


class JournalSettings(Document):
    """How much the gateway keeps on its own disk, for how long, and what goes when that is full."""

    quota_mb: Annotated[int, Field(ge=8)] = 4096
    """Journal and raw frames together; the oldest acknowledged data goes first. [MB]"""
    frames_days: Annotated[int, Field(ge=0)] = 7
    """Raw requests and answers of fast samples: a week is how long it takes until somebody doubts a value. [days]"""
    keep_days: Annotated[int, Field(ge=1)] = 183
    """Acknowledged quarter-hour values and events, with their frames: half a year, as the rules for on-line monitoring
    of key energy users want it. [days]"""
    fast_days: Annotated[int, Field(ge=0)] = 14
    """Acknowledged fast samples: long enough to send them again after a head-end was restored from a backup. [days]"""
    when_full: Literal["drop-oldest", "refuse-new"] = "drop-oldest"
    """When the quota is full of what nobody has acknowledged: give up the oldest, since what was measured last says how
    the plant is, or keep what is there and take nothing new, where the past is what is paid for. Either way the
    head-end is told exactly what is missing."""


class GatewayFile(Document):
    """One ``gateway.yaml``."""

    gateway: Id
    site: str = "site.yaml"
    """The site file, relative to this one."""
    broker: Broker = Broker()
    data: str = "gateway-data"
    """Folder of journal, state, key and frames, relative to this file."""
    rates: Rates = Rates()
    commit_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    """Longest time a poll waits for the group commit. [s]"""
    journal: JournalSettings = JournalSettings()
    health_s: Annotated[float, Field(gt=0)] = 10.0


class TrustedGateway(Document):
    """A gateway the head-end accepts batches of."""

    id: Id
    public_key: str | None = None
    """Ed25519, base64, as ``meterline gateway --show-key`` prints it."""
    public_key_file: str | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.public_key is None) == (self.public_key_file is None):
            raise ValueError("a gateway needs its public key; run 'meterline gateway --show-key' on it")
        return self


class Web(Document):
    """The page and its JSON."""

    host: Literal["127.0.0.1", "::1", "localhost"] = "127.0.0.1"
    """Loopback only: there is no login yet; put an authenticating proxy before it to publish it."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8420


class Mail(Document):
    """The mail server alarms leave by."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    login: Login | None = None
    sender: str


class Recipient(Document):
    """Who is told, of what, in which language."""

    address: Annotated[str, Field(pattern=r"^[^@\s<>\"]+@[^@\s<>\"]+$")]
    name: str = ""
    language: Literal["en", "zh"] = "en"
    severity: Literal["info", "warning", "alarm"] = "warning"
    """The least severity worth a mail."""
    energy_users: tuple[Id, ...] = ()
    """Only these and what is below them; empty means all."""


class Alerts(Document):
    """When a finding becomes a mail."""

    recipients: tuple[Recipient, ...] = ()
    digest_s: Annotated[float, Field(ge=0)] = 60.0
    """Findings opening within this time share one mail. [s]"""
    remind_h: Annotated[float, Field(gt=0)] = 24.0
    """An alarm nobody acknowledged is repeated after this. [h]"""


class InfluxTarget(Document):
    """An InfluxDB that receives everything the store does (see docs/stores.md)."""

    url: str
    org: str = "meterline"
    bucket: str = "meterline"
    token_file: str | None = None
    token_env: str | None = None


class HeadendFile(Document):
    """One ``headend.yaml``."""

    site: str = "site.yaml"
    broker: Broker = Broker()
    data: str = "headend-data"
    """Folder of the embedded store, the catalogue and the outbox, relative to this file."""
    gateways: Annotated[tuple[TrustedGateway, ...], Field(min_length=1)]
    influx: InfluxTarget | None = None
    web: Web = Web()
    mail: Mail | None = None
    alerts: Alerts = Alerts()
    purpose: Literal["enterprise", "province", "product"] | None = None
    """Which emission factor the carbon figures follow; there is no silent default (see docs/methods/carbon.md)."""
    jobs_s: Annotated[float, Field(gt=0)] = 15.0
    """How often intervals, detectors and alarms are brought up to date. [s]"""


class GatewaySettings:
    """A gateway's file with its plant, ready to run.

    Attributes
    ----------
    file, folder, plant
        The document, the folder its relative paths start from, the checked plant.
    """

    def __init__(self, file: GatewayFile, folder: Path, plant: Plant) -> None:
        self.file, self.folder, self.plant = file, folder, plant

    @property
    def data(self) -> Path:
        """Folder of journal, state, key and frames."""
        return self.folder / self.file.data

    @property
    def id(self) -> str:
        """The gateway's id."""
        return self.file.gateway


class HeadendSettings:
    """The head-end's file with its plant, ready to run."""

    def __init__(self, file: HeadendFile, folder: Path, plant: Plant) -> None:
        self.file, self.folder, self.plant = file, folder, plant

    @property
    def data(self) -> Path:
        """Folder of the embedded store, the catalogue and the outbox."""
        return self.folder / self.file.data


def load_gateway(path: Path, *, folder: Path | None = None) -> GatewaySettings:
    """Read a gateway's file, its site and all profiles.

    Parameters
    ----------
    folder
        Where relative names of data, password and certificate files start; the file's own folder unless given.

    Raises
    ------
    ConfigError
        With every problem of every file, before anything is opened.
    """
    file, plant = _with_plant(path, GatewayFile)
    assert isinstance(file, GatewayFile)
    owners = plant.gateways()
    if file.gateway not in owners:
        raise ConfigError(
            [
                Problem(
                    str(path),
                    "gateway",
                    f"no bus of {file.site} belongs to gateway {file.gateway!r}",
                    f"the site names: {', '.join(owners) or 'none'}",
                )
            ]
        )
    needed = needed_mb(plant, file.gateway, file.journal.keep_days)
    if file.journal.quota_mb < needed:
        what = f"{file.journal.quota_mb} MB do not hold {file.journal.keep_days} days of quarter-hour values"
        raise ConfigError([Problem(str(path), "journal.quota_mb", what, f"these meters need at least {needed} MB")])
    return GatewaySettings(file, folder or path.parent, plant)


def load_headend(path: Path) -> HeadendSettings:
    """Read the head-end's file, its site and all profiles.

    Raises
    ------
    ConfigError
        With every problem of every file, before anything is opened.
    """
    file, plant = _with_plant(path, HeadendFile)
    assert isinstance(file, HeadendFile)
    problems = [
        Problem(str(path), f"alerts.recipients[{i}]", f"no energy user {user!r}", "see energy_users in the site file")
        for i, recipient in enumerate(file.alerts.recipients)
        for user in recipient.energy_users
        if user not in plant.energy_users
    ]
    if file.alerts.recipients and file.mail is None:
        problems.append(
            Problem(str(path), "mail", "there are recipients but no mail server", "add mail: with host and sender")
        )
    if problems:
        raise ConfigError(problems)
    return HeadendSettings(file, path.parent, plant)


def _with_plant(path: Path, model: type[GatewayFile] | type[HeadendFile]) -> tuple[GatewayFile | HeadendFile, Plant]:
    problems: list[Problem] = []
    file: GatewayFile | HeadendFile | None = None
    try:
        file, _ = read_document(path, model)
    except ConfigError as error:
        problems += error.problems
    site = path.parent / (file.site if file else "site.yaml")
    try:
        plant = load_plant(site, profiles_dir())
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    if problems or file is None:
        raise ConfigError(problems)
    return file, plant
