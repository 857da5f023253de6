"""An InfluxDB that mirrors what the store holds, primary values, for Grafana and whoever else reads InfluxQL.

Schema (tags are ids only; names are in `meter`)::

    reading,measurand=M,meter=ID,site=ID            value=<float> quality=<int>            at the slot, ns
    interval,measurand=M,meter=ID,resolution=R,site=ID
                                                    value=<float> coverage=<float> quality=<int> revision=<int>
                                                                                           at the interval's start, ns
    meter,meter=ID,site=ID                          name_en="" name_zh="" energy_user="" carrier="" profile=""

A point is known by its tags and its time, so writing it again changes nothing, and a revised interval replaces the old
one (which the catalogue keeps). Where a value is missing only `quality` is written: absence is no zero.

Commit point: InfluxDB 1.x answers 204 after its log is synced (the default), measured by killing 1.6.7 right after the
answer; for 2.x and 3.x see the vendor's page. The mirror goes on from its own mark in the catalogue, so nothing hangs
on it: what InfluxDB lost can be written again from the start.
"""

from __future__ import annotations

import json
import math
import os
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from influxdb_client import InfluxDBClient
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.write_api import SYNCHRONOUS

from headend.intervals import Interval
from headend.primary import Regime, regime_at, regimes
from headend.stores.api import Span
from meterline.errors import ConfigError, Problem, StoreUnavailable
from meterline.plant import Plant
from meterline.readings import Number, Poll, Shape
from meterline.settings import InfluxTarget

DEADLINE_MS = 15_000
MOST_LINES = 5_000
"""Lines in one request."""


class InfluxBusy(StoreUnavailable):
    """The server asks us to wait.

    Attributes
    ----------
    wait_s
        As long as this. [s]
    """

    def __init__(self, reason: str, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Refused:
    """A line the database will never take, with its own words."""

    line: str
    reason: str


def token_of(target: InfluxTarget, folder: Path) -> str:
    """The token, or nothing where the server asks for none.

    Raises
    ------
    ConfigError
        It is not where the settings say.
    """
    if target.token_env is not None:
        token = os.environ.get(target.token_env)
        if token is None:
            raise ConfigError([Problem("environment", target.token_env, "is not set", "export it before starting")])
        return token
    if target.token_file is None:
        return ""
    path = folder / target.token_file
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        hint = "create it, mode 600"
        raise ConfigError([Problem(str(path), "influx.token_file", str(error.strerror), hint)]) from error


class InfluxWriter:
    """Writes lines, all of them or with the refused ones named.

    Parameters
    ----------
    target, folder
        Where, and where its token file is relative to.
    """

    def __init__(self, target: InfluxTarget, folder: Path) -> None:
        self._target = target
        self._client = InfluxDBClient(
            url=target.url, token=token_of(target, folder), org=target.org, timeout=DEADLINE_MS, enable_gzip=True
        )
        # the batching writer swallows errors and `Point` costs eight times as much as text: neither is used
        self._api = self._client.write_api(write_options=SYNCHRONOUS)

    def write(self, lines: Sequence[str]) -> list[Refused]:
        """Write all lines; the ones that will never be taken come back with the reason, the others are in.

        Raises
        ------
        StoreUnavailable
            The server is down, busy (`InfluxBusy`), refuses the token or has no such bucket; call again later. Lines
            of this call may have been written.
        """
        refused: list[Refused] = []
        for start in range(0, len(lines), MOST_LINES):
            refused += self._write(lines[start : start + MOST_LINES])
        return refused

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _write(self, lines: Sequence[str]) -> list[Refused]:
        try:
            self._api.write(self._target.bucket, self._target.org, "\n".join(lines))
        except InfluxDBError as error:
            return self._after(error, lines)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = str(getattr(error, "reason", None) or error)
            raise StoreUnavailable(f"InfluxDB at {self._target.url}: {reason}") from error
        return []

    def _after(self, error: InfluxDBError, lines: Sequence[str]) -> list[Refused]:
        """What an answer means; a partial write is halved until the guilty line is alone."""
        status, said = getattr(error, "status", None), _words(error)
        where = f"InfluxDB at {self._target.url}"
        if status in (400, 413, 422):
            if len(lines) == 1:
                return [Refused(lines[0], said)]
            middle = len(lines) // 2
            return self._write(lines[:middle]) + self._write(lines[middle:])
        if status in (401, 403):
            raise StoreUnavailable(f"{where} refuses the token ({said}); check influx: in headend.yaml") from error
        if status == 404:
            raise StoreUnavailable(f"{where} has no bucket {self._target.bucket!r} ({said}); create it") from error
        if status in (429, 503):
            headers = getattr(error, "headers", None) or {}
            after = str(headers.get("Retry-After") or headers.get("retry-after") or "")
            raise InfluxBusy(f"{where} is busy ({status}): {said}", float(after) if after.isdigit() else 5.0) from error
        raise StoreUnavailable(f"{where}: {status} {said}") from error


def _words(error: InfluxDBError) -> str:
    body = getattr(error, "body", None)
    if body is None and error.response is not None:
        body = getattr(error.response, "data", None)
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or error.message or error)
    try:
        parsed = json.loads(text)
        return str(parsed.get("error") or parsed.get("message") or text)[:500]
    except (json.JSONDecodeError, AttributeError):
        return text[:500]


class InfluxReader:
    """Asks by InfluxQL over ``/query``: the language that 1.x, 2.x (with a DBRP mapping) and 3.x document."""

    def __init__(self, target: InfluxTarget, folder: Path) -> None:
        token = token_of(target, folder)
        self._url = target.url.rstrip("/") + "/query"
        self._database = target.bucket
        self._headers = {"Authorization": f"Token {token}"} if token else {}
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(total=DEADLINE_MS / 1000), retries=False)

    def query(self, influxql: str) -> list[dict[str, Any]]:
        """Rows as dictionaries, their tags included; times in ns.

        Raises
        ------
        StoreUnavailable
            Down, or the query was refused.
        """
        form = urllib.parse.urlencode({"q": influxql, "db": self._database, "epoch": "ns"})
        headers = self._headers | {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            answer = self._pool.request("POST", self._url, body=form, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(f"InfluxDB at {self._url}: {error}") from error
        if answer.status != 200:
            raise StoreUnavailable(f"InfluxDB at {self._url}: {answer.status} {answer.data[:200]!r}")
        rows: list[dict[str, Any]] = []
        for result in answer.json()["results"]:
            if "error" in result:
                raise StoreUnavailable(f"InfluxDB at {self._url}: {result['error']}")
            for series in result.get("series", ()):
                tags = series.get("tags", {})
                rows += [tags | dict(zip(series["columns"], row, strict=True)) for row in series["values"]]
        return rows

    def series(self, site: str, meter: str, measurand: str, span: Span) -> list[tuple[int, float | None, int]]:
        """``(slot, primary value or None, quality)`` in the half-open span, in order."""
        rows = self.query(
            f'SELECT "value", "quality" FROM "reading" WHERE "site" = {quoted(site)} AND "meter" = {quoted(meter)}'
            f' AND "measurand" = {quoted(measurand)} AND time >= {span.start_ns} AND time < {span.end_ns}'
        )
        return [(row["time"], row["value"], int(row["quality"] or 0)) for row in rows]

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.clear()


def quoted(text: str) -> str:
    """A string literal of InfluxQL; nothing in it can end it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


# --- lines ---------------------------------------------------------------------------------------------------------


def tag(text: str) -> str:
    """A tag's value as line protocol wants it; a backslash, which it cannot say unambiguously, becomes ``_``."""
    clean = "".join(c if c.isprintable() and c != "\\" else "_" for c in text)
    return clean.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ") or "_"


def text_field(text: str) -> str:
    """A string field's value."""
    clean = text.replace("\n", " ").replace("\r", " ")
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Lines:
    """Turns polls and intervals of one plant into line protocol, primary values."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._site = tag(plant.site.site.id)
        self._heads: dict[tuple[str, int], tuple[Shape, list[tuple[str, int, tuple[Regime, ...]]]]] = {}

    def of_poll(self, poll: Poll) -> list[str]:
        """One line per number of a poll; a number that is not there leaves its quality."""
        lines: list[str] = []
        for place, (head, exponent, ratios) in enumerate(self._head(poll.meter, poll.shape)):
            number, quality = poll.numbers[place], poll.qualities[place] if poll.qualities else 0
            value = _primary(number, exponent, ratios, poll.slot_ns)
            shown = "" if value is None else f"value={value!r},"
            lines.append(f"{head} {shown}quality={quality}i {poll.slot_ns}")
        return lines

    def of_interval(self, interval: Interval) -> str:
        """One line; an interval nothing is known about has no value."""
        shown = f"value={interval.micro / 1e6!r}," if interval.has_energy else ""
        return (
            f"interval,measurand={tag(interval.measurand)},meter={tag(interval.meter)},resolution={interval.resolution},"
            f"site={self._site} {shown}coverage={float(interval.coverage)!r},quality={interval.quality}i,"
            f"revision={interval.revision}i {interval.start_ns}"
        )

    def of_meters(self, now_ns: int) -> Iterable[str]:
        """Names, for tables that show them."""
        for meter in self._plant.site.meters:
            yield (
                f"meter,meter={tag(meter.id)},site={self._site} name_en={text_field(meter.name.en)},"
                f"name_zh={text_field(meter.name.zh)},energy_user={text_field(meter.energy_user)},"
                f"carrier={text_field(str(self._plant.carrier_of(meter)))},profile={text_field(meter.profile)} {now_ns}"
            )

    def _head(self, meter: str, shape: Shape) -> list[tuple[str, int, tuple[Regime, ...]]]:
        known = self._heads.get((meter, id(shape)))
        if known is None:
            if len(self._heads) > 20_000:
                self._heads.clear()
            known = self._heads[meter, id(shape)] = (shape, [*self._columns(meter, shape)])
        return known[1]

    def _columns(self, name: str, shape: Shape) -> Iterable[tuple[str, int, tuple[Regime, ...]]]:
        meter = self._plant.meters.get(name)
        for column in shape.columns:
            head = f"reading,measurand={tag(column.measurand)},meter={tag(name)},site={self._site}"
            yield head, column.exponent, regimes(self._plant, meter, column.measurand) if meter else ()


def _primary(number: Number | None, exponent: int, ratios: Sequence[Regime], slot_ns: int) -> float | None:
    """The displayed number in its unit, times the ratio in force; None where there is none or it is no number."""
    if number is None:
        return None
    try:
        value = float(number * 10**exponent if exponent >= 0 else number / 10**-exponent)
        if ratios and (len(ratios) > 1 or ratios[0].factor != 1 or ratios[0].offset):
            value = regime_at(ratios, slot_ns).value(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None
