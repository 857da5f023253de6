"""Drive meters with what a real plant once drew: a recording read from a CSV, replayed through meters on the wire.

Power is constant over each recorded interval, chosen so that energy adds up: at the end of every interval a counter
shows its start value plus the recorded energy so far, within one step of its display. After its last row a recording
begins again.

Two kinds of file are understood, both plain or gzipped, with comma or semicolon:

- the steel plant of UCI 851 (``date, Usage_kWh, Lagging_..._kVarh, Leading_..._kVarh``), energy of the interval that
  *ends* at the stamp; its last interval of a day is stamped 00:00 of the *same* day, which is put right here;
- any file with ``time`` and ``kwh`` (energy of the interval ending then) or ``kw`` (power from then on), optionally
  with ``kvarh`` or ``kvar``.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import math
import re
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import StringIO
from pathlib import Path

from collector.simulated.loads import MILLIONTHS, STEP_S, Flows, Moment
from meterline.clock import NS
from meterline.errors import ConfigError, Problem
from meterline.measurands import Carrier
from meterline.plant import Plant

_MWS_PER_KWH = MILLIONTHS * 3600
MOST_PROBLEMS = 20
"""After so many wrong rows the rest is not read."""
_NAIVE = re.compile(r"([0-9]+)([/-])([0-9]+)\2([0-9]+)[ T]([0-9]+):([0-9]+)(?::([0-9]+))?")
_STEEL = ("date", "usage_kwh", "lagging_current_reactive_power_kvarh", "leading_current_reactive_power_kvarh")


@dataclass(frozen=True, slots=True)
class Recording:
    """A load curve.

    Attributes
    ----------
    column
        The column the power comes from, as the file names it.
    start_s
        Begin of the first interval, seconds since 1970 UTC. [s]
    lengths_s
        Length of each interval, without gaps between them. [s]
    kwh, kvarh
        Energy of each interval, exactly as written. [kWh], [kvarh]
    """

    path: Path
    column: str
    start_s: int
    lengths_s: tuple[int, ...]
    kwh: tuple[Fraction, ...]
    kvarh: tuple[Fraction, ...]

    @property
    def start_ns(self) -> int:
        """Where the plant's clock begins. [ns]"""
        return self.start_s * NS

    @property
    def peak_kw(self) -> float:
        """Largest mean power of an interval. [kW]"""
        return max(float(e) * 3600 / s for e, s in zip(self.kwh, self.lengths_s, strict=True))

    def energy_until(self, t_s: int) -> Fraction:
        """Energy recorded from the start to the end of an interval, within the first run through. [kWh]

        Raises
        ------
        ValueError
            No interval ends there.
        """
        at, total = self.start_s, Fraction(0)
        for length, energy in zip(self.lengths_s, self.kwh, strict=True):
            if at == t_s:
                return total
            at, total = at + length, total + energy
        if at == t_s:
            return total
        raise ValueError(f"no interval of {self.path.name} ends at {t_s} s")


class RecordedLoad:
    """A share of a recording as a meter's whole flow.

    Parameters
    ----------
    recording
        The curve.
    share
        Of it; 1 for the main meter.
    """

    def __init__(self, recording: Recording, share: Fraction = Fraction(1)) -> None:
        self.recording, self.share = recording, share
        self._ends: list[int] = []
        at = 0
        for length in recording.lengths_s:
            at += length
            self._ends.append(at)
        self._p = _rates(recording.kwh, recording.lengths_s, share)
        self._q = _rates(recording.kvarh, recording.lengths_s, share)

    def flows(self, moment: Moment) -> Flows:
        """What the recording says for this step."""
        since = (moment.t_s - self.recording.start_s) % self._ends[-1]
        row = bisect_right(self._ends, since)
        p, q = self._p[row], self._q[row]
        return Flows(p // 3, p // 3, p - 2 * (p // 3), q // 3, q // 3, q - 2 * (q // 3))

    def __str__(self) -> str:
        share = "" if self.share == 1 else f", {float(self.share):.0%} of it"
        return f"{self.recording.path.name}: {self.recording.column}{share}"


def _rates(amounts: Sequence[Fraction], lengths_s: Sequence[int], share: Fraction) -> list[int]:
    """Mean power of each interval in mW; what rounding takes from one interval, the next one gets back."""
    fine = math.lcm(*(amount.denominator for amount in amounts)) * share.denominator
    rates = []
    owed = 0  # mW s, in parts of 1/fine: whole numbers, as a year of fractions would take seconds
    for amount, length in zip(amounts, lengths_s, strict=True):
        owed += amount.numerator * share.numerator * (fine // (amount.denominator * share.denominator)) * _MWS_PER_KWH
        rate = (2 * owed + fine * length) // (2 * fine * length)
        owed -= rate * fine * length
        rates.append(rate)
    return rates


def recorded_loads(recording: Recording, plant: Plant) -> dict[str, RecordedLoad]:
    """Which meter gets what: the main electricity meter the whole recording, those below it their part.

    A sub-meter's part is its rating's part of its siblings' ratings, less a tenth that nobody meters.
    """
    electric = [m for m in plant.site.meters if plant.carrier_of(m) is Carrier.ELECTRICITY]
    shares: dict[str, Fraction] = {}

    def divide(feeder: str | None, share: Fraction) -> None:
        below = [m for m in electric if m.fed_by == feeder]
        ratings = [Fraction(m.rated or 1.0) for m in below]
        for meter, rating in zip(below, ratings, strict=True):
            part = share if feeder is None else share * Fraction(9, 10) * rating / sum(ratings)
            shares[meter.id] = part.limit_denominator(10_000)
            divide(meter.id, shares[meter.id])

    divide(None, Fraction(1))
    return {meter: RecordedLoad(recording, share) for meter, share in shares.items()}


def read_recording(path: Path, zone: dt.tzinfo) -> Recording:
    """Read a recording.

    Parameters
    ----------
    zone
        Time zone of stamps that name none: the site's.

    Raises
    ------
    ConfigError
        Not such a file, or rows of it that cannot be used, each with its line.
    """
    rows = csv.reader(StringIO(_text(path)), delimiter=";" if _semicolons(path) else ",")
    header = [name.strip() for name in next(rows, [])]
    table = _Table(path, header, zone)
    for row in rows:
        if row:
            table.add(rows.line_num, row)
            if len(table.problems) >= MOST_PROBLEMS:
                break
    return table.recording()


def _semicolons(path: Path) -> bool:
    first = _text(path).partition("\n")[0]
    return first.count(";") > first.count(",")


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise ConfigError([Problem(str(path), "", f"is damaged ({error})", "fetch it again")]) from error
        raise ConfigError([Problem(str(path), "", error.strerror or str(error), "check the path")]) from error
    except (EOFError, zlib.error) as error:
        raise ConfigError([Problem(str(path), "", f"is damaged ({error})", "fetch it again")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), "", "is not UTF-8 text", "save it as CSV (UTF-8)")]) from error


class _Table:
    """Rows of a file on their way to a recording."""

    def __init__(self, path: Path, header: list[str], zone: dt.tzinfo) -> None:
        self.path, self._zone = path, zone
        self.problems: list[Problem] = []
        self._stamps: list[int] = []
        self._p: list[Fraction] = []
        self._q: list[Fraction] = []
        self._offset_s: int | None = None
        self._header = header
        self._columns = {name.lower(): index for index, name in reversed(list(enumerate(header)))}
        self._steel = [name.lower() for name in header[:2]] == list(_STEEL[:2])
        self._power = not self._steel and "kw" in self._columns
        if self._steel:
            time, active, reactive, leading = _STEEL
        else:
            time, active, reactive, leading = (
                ("time", "kw", "kvar", "") if self._power else ("time", "kwh", "kvarh", "")
            )
        self._names = (time, active, reactive, leading)
        missing = " and no column ".join(name for name in (time, active) if name not in self._columns)
        if missing:
            raise ConfigError(
                [
                    Problem(
                        str(path), "line 1", f"no column {missing} among: {', '.join(header[:12])}",
                        "a recording needs the columns 'time' and 'kwh' (or 'kw')",
                    )
                ]
            )  # fmt: skip

    def add(self, line: int, row: list[str]) -> None:
        """Take one row, or note what is wrong with it."""
        time, active, reactive, leading = self._names
        try:
            stamp = self._stamp(self._cell(row, time))
            p = _number(self._cell(row, active))
            q = _number(self._cell(row, reactive)) if reactive in self._columns else Fraction(0)
            if leading in self._columns:
                q -= _number(self._cell(row, leading))
        except ValueError as error:
            self.problems.append(Problem(str(self.path), f"line {line}", str(error)))
            return
        if self._steel and self._stamps and stamp == self._stamps[-1] - 85_500:
            stamp += 86_400  # 00:00 after 23:45: the file names the day that ends
        if self._stamps and stamp <= self._stamps[-1]:
            self.problems.append(
                Problem(str(self.path), f"line {line}", "its time is not after the row before", "sort the rows by time")
            )
            return
        if stamp % STEP_S:
            self.problems.append(
                Problem(str(self.path), f"line {line}", f"its time is not on a whole {STEP_S} s", "round the times")
            )
            return
        self._stamps.append(stamp)
        self._p.append(p)
        self._q.append(q)

    def recording(self) -> Recording:
        """Make a recording of the rows."""
        if not self.problems and len(self._stamps) < 2:
            self.problems.append(Problem(str(self.path), "", "has fewer than two rows", "a curve needs at least two"))
        if self.problems:
            raise ConfigError(self.problems)
        steps = [after - before for before, after in zip(self._stamps, self._stamps[1:], strict=False)]
        if self._power:  # from its stamp to the next; the last row as long as the one before it
            lengths = [*steps, steps[-1]]
            start = self._stamps[0]
            hours = [Fraction(length, 3600) for length in lengths]
            p = [value * h for value, h in zip(self._p, hours, strict=True)]
            q = [value * h for value, h in zip(self._q, hours, strict=True)]
        else:
            lengths = [steps[0], *steps]
            start = self._stamps[0] - steps[0]
            p, q = self._p, self._q
        column = self._header[self._columns[self._names[1]]]
        return Recording(self.path, column, start, tuple(lengths), tuple(p), tuple(q))

    def _cell(self, row: list[str], name: str) -> str:
        index = self._columns[name]
        if index >= len(row):
            raise ValueError(f"has {len(row)} columns, so no {name}")
        return row[index].strip()

    def _stamp(self, text: str) -> int:
        moment = _parse_time(text)
        if moment.tzinfo is not None:
            return round(moment.timestamp())
        naive = round(moment.replace(tzinfo=dt.UTC).timestamp())
        if self._offset_s is None:  # the zone decides once; from there a recording's hours are all 3600 s long
            self._offset_s = naive - round(moment.replace(tzinfo=self._zone).timestamp())
        return naive - self._offset_s


def _parse_time(text: str) -> dt.datetime:
    """``18/05/2026 08:15``, ``2026-05-18 08:15`` and their like; with a zone: ISO 8601."""
    found = _NAIVE.fullmatch(text)
    try:
        if found is None:
            return dt.datetime.fromisoformat(text)
        first, month, last, hour, minute = (int(found[n]) for n in (1, 3, 4, 5, 6))
        year, day = (first, last) if len(found[1]) == 4 else (last, first)
        return dt.datetime(year, month, day, hour, minute, int(found[7] or 0))  # noqa: DTZ001 (the caller knows the zone)
    except ValueError:
        raise ValueError(f"time {text!r} cannot be read; write it as 2026-05-18 08:15") from None


def _number(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r} is no number") from None
