"""The pages a person reads. Each is rendered whole on the server; a small script replaces what has changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from headend import words
from headend.alerts.outbox import Outbox
from headend.causes import Scope
from headend.completeness import LIMIT
from headend.entries import Entry, State
from headend.findings import NoSuchFinding
from headend.metered import power_of
from headend.queries import Now
from headend.stores.api import Span
from headend.web.completeness import CompletenessViews, floor_percent
from headend.web.energy import EnergyViews
from headend.web.guard import FormGuard
from headend.web.marks import age_words, percent, spark_path
from headend.web.shown import Evidence, Name
from headend.web.texts import TEXTS
from headend.web.views import LASTING, Views
from meterline.clock import NS, Clock
from meterline.measurands import MEASURANDS
from meterline.plant import Meter
from meterline.texts import Language, choose_language

HERE = Path(__file__).resolve().parent
LANGUAGE_COOKIE = "language"
HISTORY = 100
LARGEST_FORM = 8192
ATTENTION = (State.OPEN, State.ACKNOWLEDGED, State.RETURNED)
REFRESH_S = 3


class Pages:
    """The HTML routes over one plant."""

    def __init__(
        self,
        views: Views,
        energy: EnergyViews,
        clock: Clock,
        guard: FormGuard,
        outbox: Outbox | None,
        *,
        plotly: str,
        completeness: CompletenessViews | None = None,
    ) -> None:
        self._completeness = completeness
        self._energy = energy
        self._views, self._clock, self._guard, self._outbox, self._plotly = views, clock, guard, outbox, plotly
        self._plant, self._book = views.plant, views.book
        self._jinja = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.filters |= {"num": words.number, "pct": percent, "spark": spark_path, "unit": words.unit_words}
        self._jinja.filters["floor_pct"] = floor_percent
        self.router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
        add = self.router.add_api_route
        add("/", self.overview, methods=["GET"])
        add("/meters/{meter}", self.meter, methods=["GET"])
        add("/energy", self.energy, methods=["GET"])
        add("/findings", self.findings, methods=["GET"])
        add("/findings/{number}", self.finding, methods=["GET"])
        add("/findings/{number}/acknowledge", self.acknowledge, methods=["POST"])
        add("/completeness", self.completeness, methods=["GET"])
        add("/system", self.system, methods=["GET"])

    # --- pages

    def overview(self, request: Request) -> Response:
        """The plant at a glance."""
        now_ns = self._clock.now_ns()
        entries = [e for e in self._book.entries(now_ns=now_ns, states=LASTING, most=500) if e.cause is None]
        entries.sort(key=lambda e: (-e.severity.rank, -e.start_ns))
        view = self._views.overview(now_ns)
        roots = [user for user in view.users if user.depth == 0]
        complete = None
        if self._completeness is not None:
            today = self._completeness.today(now_ns)
            complete = self._completeness.together(today, today, now_ns)
        return self._page(
            request, "overview.html", "overview", view=view, roots=roots, entries=entries[:6], complete=complete
        )

    def meter(self, request: Request, meter: str) -> Response:
        """One meter: curve, amounts, newest values, the instrument itself."""
        known = self._plant.meters.get(meter)
        if known is None:
            raise HTTPException(404)
        now_ns = self._clock.now_ns()
        latest = self._views.queries.latest(now_ns).get(meter, {})
        lasting = self._book.entries(now_ns=now_ns, states=LASTING, meter=meter)
        values = [self._views.value(latest[name]) for name in sorted(latest, key=_reading_order)]
        gauges = [v.measurand for v in values if v.measurand in MEASURANDS]
        return self._page(
            request,
            "meter.html",
            "overview",
            meter=known,
            line=self._views.meter_line(meter, latest, lasting, now_ns),
            values=values,
            shown=power_of(self._plant, known) or (gauges[0] if gauges else "power.active.total"),
            choices=gauges,
            ledger=self._ledger(known, request),
            evidence=self._newest_evidence(meter, latest),
            entries=self._book.entries(now_ns=now_ns, meter=meter, most=12),
        )

    def energy(self, request: Request, period: str = "today") -> Response:
        """Coal equivalent, carbon, load shape and specific energy of a period."""
        now_ns = self._clock.now_ns()
        today = self._energy.today(now_ns)
        day = dt.timedelta(days=1)
        first, last = {
            "yesterday": (today - day, today - day),
            "week": (today - 7 * day, today - day),
            "month": (today.replace(day=1), today),
        }.get(period, (today, today))
        data = self._energy.report(first, last, now_ns)
        return self._page(request, "energy.html", "energy", data=data, period=period, running=last == today)

    def findings(self, request: Request, show: str = "open", before: int | None = None) -> Response:
        """The book."""
        now_ns = self._clock.now_ns()
        history = show == "history"
        states = None if history else ATTENTION
        entries = self._book.entries(now_ns=now_ns, states=states, before=before, most=HISTORY + 1)
        older = entries[HISTORY - 1].id if len(entries) > HISTORY else None
        entries = entries[:HISTORY]
        if not history:
            entries.sort(key=lambda e: (not e.lasts, e.cause is not None, -e.severity.rank, -e.start_ns))
        return self._page(request, "findings.html", "findings", entries=entries, history=history, older=older)

    def finding(self, request: Request, number: int) -> Response:
        """One finding with its evidence."""
        return self._finding(request, number)

    def _finding(self, request: Request, number: int, *, problem: str = "", http: int = 200) -> Response:
        entry = self._book.find(number)
        if entry is None:
            raise HTTPException(404)
        language = self._language(request)
        meter = self._plant.meters.get(entry.subject) if entry.scope is Scope.METER else None
        reader = self._guard.reader(request)
        response = self._page(
            request,
            "finding.html",
            "findings",
            http=http,
            entry=entry,
            facts=words.facts(entry, self._plant, language),
            checks=words.checks(entry, language),
            meaning=words.meaning(entry, language),
            events=self._book.history(number),
            meter=meter,
            members=[self._plant.meters[m] for m in entry.meters if m in self._plant.meters],
            measurand_name=power_of(self._plant, meter) if meter else None,
            chart=self._chart_span(entry),
            unit=words.unit_of(entry, self._plant, "energy_kwh"),
            token=self._guard.token(reader),
            problem=problem,
            now_ns=self._clock.now_ns(),
        )
        self._guard.remember(response, reader)
        return response

    async def acknowledge(self, request: Request, number: int) -> Response:
        """Take the form of a finding's page (a few lines of text: no library for uploads is needed)."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_FORM:
                raise HTTPException(413)
        form = dict(parse_qsl(body.decode("utf-8", "replace")))
        return await run_in_threadpool(self._acknowledge, request, number, form)

    def _acknowledge(self, request: Request, number: int, form: Mapping[str, str]) -> Response:
        if not self._guard.own_form(request, form.get("token", "")):
            return self._finding(request, number, problem="ack.refused", http=403)
        who, why = form.get("who", "")[:80], form.get("why", "")[:500]
        try:
            self._book.acknowledge(number, who=who, why=why, now_ns=self._clock.now_ns())
        except NoSuchFinding as error:
            raise HTTPException(404) from error
        except ValueError:
            return self._finding(request, number, problem="ack.no_name", http=422)
        return RedirectResponse(f"/findings/{number}", 303)

    def completeness(self, request: Request, month: str = "", day: str = "") -> Response:
        """How much of what should have come has come: a month of days, and one day in full."""
        views = self._completeness
        if views is None:
            raise HTTPException(404)
        now_ns = self._clock.now_ns()
        today = views.today(now_ns)
        try:
            first = dt.date.fromisoformat(f"{month}-01") if month else today.replace(day=1)
            chosen = dt.date.fromisoformat(day) if day else min(today, _last_of(first))
        except ValueError as error:
            raise HTTPException(404) from error
        status = self._views.queries.status(now_ns)
        return self._page(
            request,
            "completeness.html",
            "completeness",
            month=views.month(first, now_ns),
            chosen=chosen.isoformat(),
            lines=views.days(chosen, chosen, now_ns),
            audit={name: status["audit"].get(name) for name in status["gateways"]},
            limit=round(100 * LIMIT),
        )

    def system(self, request: Request) -> Response:
        """Gateways, ledger, store, mails: whether the system itself is well."""
        now_ns = self._clock.now_ns()
        status = self._views.queries.status(now_ns)
        for gateway in status["gateways"].values():
            gateway["count"] = sum(
                last - first + 1 for ranges in gateway["received"].values() for first, last in ranges
            )
        mails = self._outbox.counts() if self._outbox else {}
        trouble = [m for m in self._outbox.mails("waiting", "refused", "unsure") if m.answer] if self._outbox else []
        return self._page(request, "system.html", "system", status=status, mails=mails, mail_trouble=trouble[:10])

    def error(self, request: Request, status: int, detail: str) -> Response:
        """A page that says what is wrong and where to go."""
        return self._page(request, "error.html", "", http=status, code=status, detail=detail)

    # --- what all pages have

    def _page(self, request: Request, template: str, section: str, *, http: int = 200, **values: Any) -> Response:
        language = self._language(request)
        now_ns = self._clock.now_ns()
        zone = self._views.zone
        common: dict[str, Any] = {
            "language": language,
            "lang_tag": "zh-CN" if language == "zh" else "en",
            "own_url": _address(request),
            "other_language": _address(request, "en" if language == "zh" else "zh"),
            "section": section,
            "site": self._plant.site.site,
            "simulated": self._views.simulated,
            "now_local": words.local(now_ns, zone),
            "zone": words.zone_words(now_ns, zone),
            "counts": self._counts(now_ns, http),
            "refresh_s": REFRESH_S,
            "plotly": self._plotly,
            "t": lambda key, **given: TEXTS(key, language, **given),
            "has_text": lambda key: key in TEXTS,
            "of": lambda name: _in(name, language),
            "local": lambda t_ns: words.local(t_ns, zone),
            "clock_time": lambda iso: dt.datetime.fromisoformat(iso).strftime("%m-%d %H:%M:%S"),
            "age": lambda seconds: age_words(seconds, language),
            "length": lambda entry: self._length(entry, now_ns, language),
            "heading": lambda entry: words.heading(entry, language),
            "about": lambda entry: words.about(entry, self._plant, language),
            "state": lambda entry: entry.state(now_ns).value,
            "state_words": lambda entry: words.state_words(entry, now_ns, language),
            "severity": lambda severity: words.severity_words(severity, language),
            "measurand": lambda name: _measurand(name, language),
            "chart_words": {key: text for key, text in TEXTS.rows(language).items() if key.startswith("chart.")},
            "user_name": lambda user: words.of(self._plant.energy_users[user].name, language),
            "meter_name": lambda meter: (
                words.of(self._plant.meters[meter].name, language) if meter in self._plant.meters else meter
            ),
        }
        html = self._jinja.get_template(template).render(common | values)
        response = HTMLResponse(html, http)
        if (wish := request.query_params.get("lang")) in ("en", "zh"):
            response.set_cookie(LANGUAGE_COOKIE, wish, max_age=31_536_000, samesite="lax", path="/")
        response.headers["Content-Language"] = common["lang_tag"]
        return response

    def _language(self, request: Request) -> Language:
        return choose_language(
            request.query_params.get("lang"),
            request.cookies.get(LANGUAGE_COOKIE),
            request.headers.get("accept-language"),
        )

    def _counts(self, now_ns: int, http: int) -> Mapping[str, int]:
        if http == 503:  # the page that says the catalogue cannot be read must not read it
            return {"alarm": 0, "warning": 0, "info": 0}
        return {severity.value: count for severity, count in self._book.counts(now_ns).items()}

    @staticmethod
    def _length(entry: Entry, now_ns: int, language: Language) -> str:
        return words.duration((entry.until_ns or now_ns) - entry.start_ns, language)

    def _chart_span(self, entry: Entry) -> Mapping[str, str]:
        """The stretch of the curve that shows a finding with what was before and after."""
        now_ns = self._clock.now_ns()
        end_ns = entry.until_ns or now_ns
        margin = min(max(3600 * NS, (end_ns - entry.start_ns) // 2), 24 * 3600 * NS)
        span_end = min(end_ns + margin, max(now_ns, end_ns))
        return {"start": self._views.iso(entry.start_ns - margin), "end": self._views.iso(span_end)}

    def _newest_evidence(self, meter: str, latest: Mapping[str, Now]) -> Evidence | None:
        """The signed batch in which the newest reading came."""
        if not latest:
            return None
        newest_ns = max(now.slot_ns for now in latest.values())
        found = self._views.evidence(meter, Span(newest_ns, newest_ns + 1), most=1)
        return found[0] if found else None

    def _ledger(self, meter: Meter, request: Request) -> list[tuple[str, str]]:
        """The instrument as the inventory knows it."""
        language = self._language(request)
        plant = self._plant
        bus, profile = plant.buses[meter.bus], plant.profile_of(meter)
        certificate = meter.certificate
        missing = TEXTS("led.not_entered", language)
        words_of_certificate = certificate.number
        if certificate.valid_until is not None:
            until = TEXTS("led.valid_until", language, day=certificate.valid_until.isoformat())
            words_of_certificate = f"{certificate.number} ({until})"
        if profile.value_reference == "primary":
            ratio = TEXTS("led.primary", language)
        else:
            today = dt.datetime.fromtimestamp(self._clock.now_ns() // NS, tz=self._views.zone).date()
            dated = meter.ratio_at(today)
            ratio = missing
            if dated is not None:
                factor = words.number(float(dated.factor("cv")))
                ratio = TEXTS(
                    "led.ratio_since", language, ct=dated.ct, vt=dated.vt, factor=factor, day=dated.valid_from
                )
        power = power_of(plant, meter)
        unit = MEASURANDS[power].unit if power else ""
        rows = [
            ("led.id", meter.id),
            ("led.user", words.of(plant.energy_users[meter.energy_user].name, language)),
            ("led.type", words.of(profile.title, language)),
            ("led.profile", profile.id),
            ("led.serial", meter.serial or missing),
            ("led.class", meter.accuracy_class or missing),
            ("led.certificate", words_of_certificate or missing),
            ("led.ratio", ratio),
            ("led.rated", f"{words.number(meter.rated)} {unit}" if meter.rated else missing),
            ("led.line", f"{bus.id}: {words.endpoint(bus)}"),
            ("led.address", meter.address),
            ("led.gateway", bus.gateway),
        ]
        if meter.fed_by:
            rows.append(("led.fed_by", words.of(plant.meters[meter.fed_by].name, language)))
        return [(TEXTS(key, language), value) for key, value in rows]


def _last_of(month: dt.date) -> dt.date:
    return (month.replace(day=28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(days=1)


def _in(name: Any, language: Language) -> str:
    if isinstance(name, Name):
        return name.zh if language == "zh" else name.en
    return words.of(name, language)


QUANTITIES = ("power", "flow", "energy", "volume", "mass", "heat", "demand", "voltage", "current", "power_factor")


def _reading_order(name: str) -> tuple[int, int, str]:
    """Power first, then counters, then the rest; the total before its phases."""
    quantity, _, rest = name.partition(".")
    place = QUANTITIES.index(quantity) if quantity in QUANTITIES else len(QUANTITIES)
    return place, 0 if "total" in rest or "import" in rest else 1, name


def _measurand(name: str, language: Language) -> str:
    row = MEASURANDS.get(name)
    return name if row is None else (row.zh if language == "zh" else row.en)


def _address(request: Request, language: Language | None = None) -> str:
    """The page itself, or the page in a language; of a form that was sent, the page it stands on."""
    path = request.url.path.removesuffix("/acknowledge")
    if language is None:
        return f"{path}?{request.url.query}" if request.url.query else path
    kept = [(k, v) for k, v in parse_qsl(request.url.query) if k != "lang"]
    return f"{path}?{urlencode([*kept, ('lang', language)])}"
