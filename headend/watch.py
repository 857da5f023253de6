"""What befalls the delivery itself is told to people: data that will never come, or that nobody should believe.

Two sorts of cases. What only grows (broken links of the chain, refused messages, lost numbers) is told when it has
grown, not more than once an hour. What lasts (a trouble a gateway speaks of, a wrong clock) is told when it has lasted
for a while and once more when it is over. What has been told is written down with the mails, so a restart tells nothing
twice.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import orjson

from analytics.findings import Severity
from headend import words
from headend.alerts.mail import Draft, build, made_safe
from headend.alerts.outbox import Outbox
from headend.catalogue import Catalogue
from headend.stores.api import StoreReader
from headend.watch_texts import TEXTS
from meterline.clock import NS, Clock
from meterline.settings import HeadendSettings, Recipient
from meterline.texts import Language

EVERY_S = 30.0
"""Real seconds between two looks."""
HOLD_S = 120.0
"""A state must have lasted so long, in real time, to be worth a mail, and be gone so long to be over. [s]"""
AGAIN_S = 3600.0
"""What grows is told again after this at the earliest. [s]"""
SKEW_S = 60.0
"""A gateway's clock that differs by more is wrong. [s]"""
NO_LOSS = ("resealed", "forked")
_JOB = "watch"
Kind = Literal["tampered", "refused", "lost", "trouble", "clock"]


@dataclass(frozen=True, slots=True)
class Case:
    """Something to tell.

    Attributes
    ----------
    key
        What makes it the same case again.
    count
        Of what only grows; 0 for what lasts.
    """

    key: str
    kind: Kind
    severity: Severity
    gateway: str = ""
    reason: str = ""
    detail: str = ""
    count: int = 0


@dataclass(slots=True)
class _Told:
    """What is remembered of a case."""

    since_ns: int
    seen_ns: int
    told_ns: int = 0
    count: int = 0
    detail: str = ""
    kind: str = ""
    gateway: str = ""


class Watch:
    """Looks at ledger, chain, quarantine and health messages, and queues mails.

    Parameters
    ----------
    wall
        The real clock; `clock` is the plant's.
    """

    def __init__(
        self,
        settings: HeadendSettings,
        store: StoreReader,
        catalogue: Catalogue,
        outbox: Outbox,
        clock: Clock,
        wall: Clock,
    ) -> None:
        self._settings, self._store, self._catalogue, self._outbox = settings, store, catalogue, outbox
        self._clock, self._wall = clock, wall
        self._next_s = float("-inf")

    def once(self, now_ns: int) -> int:
        """Look, if it is time to; gives how many mails were queued."""
        if self._wall.monotonic_s() < self._next_s:
            return 0
        self._next_s = self._wall.monotonic_s() + EVERY_S
        wall_ns = self._wall.now_ns()
        known = {name: _Told(**orjson.loads(value)) for name, value in self._catalogue.marks(_JOB).items()}
        begun: list[tuple[Case, _Told]] = []
        standing: set[str] = set()
        for case in self._cases():
            standing.add(case.key)
            told = known.setdefault(case.key, _Told(wall_ns, wall_ns))
            told.seen_ns, told.detail, told.kind, told.gateway = wall_ns, case.detail, case.kind, case.gateway
            if self._worth_telling(case, told, wall_ns):
                begun.append((case, told))
        over = [
            (key, told) for key, told in known.items()
            if key not in standing and wall_ns - told.seen_ns >= HOLD_S * NS and told.kind in ("trouble", "clock")
        ]  # fmt: skip
        queued = self._tell(begun, [told for _, told in over if told.told_ns], now_ns, wall_ns)
        for case, told in begun:
            told.told_ns, told.count = wall_ns, case.count
        for key, _ in over:
            del known[key]
            self._catalogue.drop_mark(_JOB, key)
        self._catalogue.set_marks({(_JOB, key): orjson.dumps(told).decode() for key, told in known.items()})
        return queued

    # --- what there is ---------------------------------------------------------------------------------------------

    def _cases(self) -> Iterator[Case]:
        breaks: dict[str, int] = {}
        for gateway, _, _ in self._catalogue.chain_breaks():
            breaks[gateway] = breaks.get(gateway, 0) + 1
        for gateway, count in breaks.items():
            yield Case(f"tampered:{gateway}", "tampered", Severity.ALARM, gateway, count=count)
        for reason, count in self._catalogue.quarantined().items():
            grave = Severity.ALARM if reason in ("signature", "conflict") else Severity.WARNING
            if reason != "influxdb":  # that is our own mirror's quarantine
                yield Case(f"refused:{reason}", "refused", grave, reason=reason, count=count)
        for gateway in self._store.gateways():
            lost: dict[str, int] = {}
            for found in self._store.lost(gateway):
                if found.reason not in NO_LOSS:
                    lost[found.reason] = lost.get(found.reason, 0) + found.last - found.first + 1
            for reason, count in lost.items():
                yield Case(f"lost:{gateway}:{reason}", "lost", Severity.WARNING, gateway, reason, count=count)
        for gateway, (received_ns, health) in self._catalogue.health().items():
            if health.state == "gone":
                continue  # that the gateway is away is a finding of its own
            for trouble in health.troubles:
                word = trouble.partition(":")[0]
                yield Case(f"trouble:{gateway}:{word}", "trouble", Severity.WARNING, gateway, detail=trouble)
            skew_s = abs(health.at_ns - received_ns) / NS
            if not self._clock.simulated and skew_s > SKEW_S:
                yield Case(f"clock:{gateway}", "clock", Severity.WARNING, gateway, detail=f"{skew_s:.0f} s")

    @staticmethod
    def _worth_telling(case: Case, told: _Told, wall_ns: int) -> bool:
        if case.kind in ("trouble", "clock"):
            return not told.told_ns and wall_ns - told.since_ns >= HOLD_S * NS
        return case.count > told.count and (not told.told_ns or wall_ns - told.told_ns >= AGAIN_S * NS)

    # --- telling ---------------------------------------------------------------------------------------------------

    def _tell(self, begun: Sequence[tuple[Case, _Told]], over: Sequence[_Told], now_ns: int, wall_ns: int) -> int:
        queued = 0
        mail = self._settings.file.mail
        for recipient in self._recipients() if mail is not None else ():
            least = Severity(recipient.severity).rank
            mine = [(case, told) for case, told in begun if case.severity.rank >= least]
            ends = over if least <= Severity.WARNING.rank else ()
            if not mine and not ends:
                continue
            draft = self._draft(recipient.language, mine, ends)
            # made of what it says: after a crash between the mail and the note that it was told, it is the same mail
            said = [f"{case.key}@{told.since_ns}+{case.count}" for case, told in mine]
            said += [f"over {told.gateway} {told.detail}@{told.since_ns}" for told in ends]
            key = f"watch:{recipient.address}:" + hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]
            sender = mail.sender if mail is not None else ""
            domain = sender.rpartition("@")[2] or "localhost"
            message_id = f"<{hashlib.sha256(key.encode()).hexdigest()[:24]}.meterline@{domain}>"
            self._outbox.put(
                key=key, message_id=message_id, recipient=recipient.address, subject=draft.subject, entries=(),
                message=build(
                    draft, sender=sender, recipient=recipient.address, name=recipient.name, message_id=message_id,
                    wall_ns=wall_ns,
                ), wall_ns=wall_ns, plant_ns=now_ns,
            )  # fmt: skip
            queued += 1
        return queued

    def _recipients(self) -> list[Recipient]:
        """Those who look after the whole plant; everybody where there is no such."""
        everybody = list(self._settings.file.alerts.recipients)
        return [r for r in everybody if not r.energy_users] or everybody

    def _draft(self, language: Language, begun: Sequence[tuple[Case, _Told]], over: Sequence[_Told]) -> Draft:
        paragraphs = [TEXTS(f"{case.kind}.do", language, **self._values(case, told)) for case, told in begun]
        paragraphs += [TEXTS(f"{told.kind}.over", language, gateway=told.gateway, detail=told.detail) for told in over]
        if len(paragraphs) > 1:
            what = TEXTS("several", language, count=len(paragraphs))
        elif begun:
            what = TEXTS(begun[0][0].kind, language, **self._values(*begun[0]))
        else:
            what = TEXTS(over[0].kind, language, gateway=over[0].gateway, detail=over[0].detail)
        grave = any(case.severity is Severity.ALARM for case, _ in begun)
        mark = TEXTS("mark.alarm" if grave else "mark.warning" if begun else "mark.over", language)
        plant = words.of(self._settings.plant.site.site.name, language)
        simulated = "[SIMULATED] " if self._clock.simulated else ""
        subject = simulated + TEXTS("subject", language, mark=mark, plant=plant, what=what)
        html = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
        return Draft(made_safe(subject), "\n\n".join(paragraphs) + "\n", html, language)

    def _values(self, case: Case, told: _Told) -> Mapping[str, Any]:
        since = dt.datetime.fromtimestamp(told.since_ns / NS, self._settings.plant.site.site.zone)
        return {
            "gateway": case.gateway, "reason": case.reason, "detail": case.detail, "count": case.count - told.count,
            "since": f"{since:%Y-%m-%d %H:%M}",
        }  # fmt: skip
