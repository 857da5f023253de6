"""What a scan found, as a table with what to do next, as JSON, or as lines for the site file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from meterline.cli.screen import Screen
from meterline.cli.target import Target
from meterline.cli.texts import text
from meterline.lines import LineSettings
from meterline.profiles import Profile
from meterline.site import Meter
from meterline.site_text import one_line

if TYPE_CHECKING:
    from collector.recognise import Reason
    from collector.scan import Found, Scan

SHOWN = {"modbus": "Modbus", "dlt645": "DL/T 645", "dlt645-1997": "DL/T 645-97", "cjt188": "CJ/T 188", "mbus": "M-Bus"}
STYLE = {"certain": "green", "likely": "green", "possible": "yellow", "unclear": "yellow", "unknown": "yellow"}
HEADS = ("head.address", "head.protocol", "head.setting", "head.answer_ms", "head.type", "head.fit", "head.site")


class Report:
    """The result of a scan, complete or not."""

    def __init__(self, target: Target, scan: Scan, took_s: float, *, complete: bool) -> None:
        self._target, self._scan, self._took_s, self._complete = target, scan, took_s, complete
        self._found = sorted(scan.found, key=lambda each: (each.tongue, len(each.address), each.address))

    # ----------------------------------------------------------------------------------------------- for people

    def show(self, screen: Screen, *, why: bool) -> None:
        """Print the table, what it means, and what to do next."""
        screen.json(self.json())
        if screen.as_json:
            return
        if self._found:
            self._table(screen)
        for remark in self._scan.remarks:
            screen.say(f"scan.remark.{remark.code}", style="yellow", **remark.values)
        for each in self._found:
            self._explain(screen, each, why=why)
        self._against_the_site(screen)
        key = "scan.found" if self._found else "scan.none"
        screen.say(key, style="bold", count=len(self._found), time=took_text(self._took_s, screen.lang))
        if not self._complete:
            share = round(100 * self._took_s / (self._took_s + self._scan.estimate.left_s() + 1e-9))
            screen.say("scan.partly", style="yellow", share=share)
        if not self._found and not self._scan.remarks:
            screen.say("scan.none_hint")
        if any(each.recognition and each.recognition.best for each in self._found):
            screen.say("scan.yaml_next", style="dim")

    def _table(self, screen: Screen) -> None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        set_here = any(each.setting for each in self._found)
        heads = [head for head in HEADS if head != ("head.site" if self._target.plant is None else "")]
        heads = [head for head in heads if head != "head.setting" or set_here]
        for head in heads:
            right = head == "head.answer_ms"
            table.add_column(text(head, screen.lang), justify="right" if right else "left", no_wrap=True)
        for each in self._found:
            verdict = self._verdict(each)
            shown = text(f"scan.verdict.{verdict}", screen.lang, **self._verdict_values(each))
            cells: list[str | Text] = [
                each.address, SHOWN[each.tongue], *([str(each.setting or "")] if set_here else []),
                "" if each.response_s is None else f"{each.response_s * 1000:.0f}",
                self._profile(each) or "-", Text(shown, style=STYLE.get(verdict, "red")),
            ]  # fmt: skip
            if self._target.plant:
                known = self._known(each)
                cells.append(known.id if known else text("scan.new", screen.lang))
            table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
        screen.out.print(table, soft_wrap=False)

    def _explain(self, screen: Screen, each: Found, *, why: bool) -> None:
        verdict = self._verdict(each)
        if verdict == "collides":
            screen.say("scan.collides", style="red", address=each.address)
        elif verdict == "unclear" and each.recognition and each.recognition.best:
            names = ", ".join((each.recognition.best.profile, *each.recognition.alike))
            screen.say("scan.alike", address=each.address, names=names)
        elif verdict == "unknown" and each.recognition:
            maker = f" ({each.recognition.maker})" if each.recognition.maker else ""
            screen.say("scan.unknown", address=each.address, maker=maker)
        if each.every_unit:
            screen.say("scan.every_unit")
        if each.also_at:
            screen.say("scan.also_at", address=each.address, settings=", ".join(map(str, each.also_at)))
        if why and each.recognition and each.recognition.best:
            best = each.recognition.best
            screen.line(f"{each.address} {best.profile}", style="bold")
            for reason in best.reasons:
                key = "scan.why_for" if reason.good else "scan.why_against"
                screen.say(key, style="green" if reason.good else "red", reason=reason_text(reason, screen.lang))

    def _against_the_site(self, screen: Screen) -> None:
        plant = self._target.plant
        if plant is None:
            return
        for each in self._found:
            known, seen = self._known(each), self._profile(each)
            alike = each.recognition.alike if each.recognition else ()
            if known and seen and self._verdict(each) in ("certain", "likely", "unclear") and (
                known.profile != seen and known.profile not in alike
            ):  # fmt: skip
                screen.say(
                    "scan.other_type", style="yellow", meter=known.id, address=known.address, said=known.profile,
                    seen=seen,
                )  # fmt: skip
        heard = {each.address for each in self._found}
        silent = [
            f"{meter.id} ({meter.address})"
            for meter in plant.meters_on(self._target.bus.id)
            if meter.address not in heard and self._was_asked(meter, plant.profile_of(meter))
        ]
        if silent and self._complete:
            screen.say("scan.silent_known", style="yellow", meters=", ".join(silent))

    def _was_asked(self, meter: Meter, profile: Profile) -> bool:
        """Whether the scan reached as far as this meter."""
        from collector.scan_plan import tongue_of

        stages = [stage for stage in self._scan.stages if stage.tongue == tongue_of(profile)]
        return any(stage.tongue != "modbus" or int(meter.address) in stage.addresses for stage in stages)

    # --------------------------------------------------------------------------------------------- for machines

    def json(self) -> dict[str, Any]:
        """The result as one object."""
        return {
            "line": self._target.where,
            "complete": self._complete,
            "took_s": round(self._took_s, 1),
            "found": [self._one(each) for each in self._found],
            "remarks": [{"code": remark.code, **remark.values} for remark in self._scan.remarks],
        }

    def _one(self, each: Found) -> dict[str, Any]:
        recognition, known = each.recognition, self._known(each)
        best = recognition.best if recognition else None
        return {
            "address": each.address,
            "protocol": each.tongue,
            "baud": each.setting.baud if each.setting else None,
            "parity": each.setting.parity if each.setting else None,
            "response_ms": None if each.response_s is None else round(each.response_s * 1000, 1),
            "collides": each.collides,
            "every_unit": each.every_unit,
            "also_at": [str(setting) for setting in each.also_at],
            "verdict": self._verdict(each),
            "profile": best.profile if best else None,
            "alike": list(recognition.alike) if recognition else [],
            "maker": recognition.maker if recognition else "",
            "reasons": [{"code": r.code, "good": r.good, **r.values} for r in best.reasons] if best else [],
            "meter": known.id if known else None,
        }

    def yaml(self) -> str:
        """Lines for the site file: the bus unless it is in it, and every meter that is not."""
        bus, lines = self._target.bus, []
        name = bus.id
        if self._target.plant is None:
            name = "line-1"
            settings = [each.setting for each in self._found if each.setting]
            usual = max(settings, key=settings.count) if settings else bus.settings
            own: dict[str, Any] = {"id": name, "kind": bus.kind, "gateway": "gw-1"}
            own |= {"device": bus.device} if bus.kind == "serial" else {"host": bus.host, "port": bus.tcp_port}
            if bus.kind in ("serial", "rfc2217"):
                own |= {"baud": usual.baud, "parity": usual.parity}
            lines += ["buses:", f"  - {one_line(own)}"]
        else:
            usual = bus.settings
        lines.append("meters:")
        for each in self._found:
            if self._known(each) or each.collides:
                continue
            lines.append(self._meter_line(each, name, usual))
        return "\n".join(lines) + "\n"

    def _meter_line(self, each: Found, bus: str, usual: object) -> str:
        profile = self._profile(each)
        verdict = self._verdict(each)
        address = "1" if each.every_unit else each.address
        id_ = re.sub(r"[^a-z0-9-]", "-", f"{bus}-{address}"[-32:].lower()).strip("-")
        title = self._target.profiles[profile].title if profile else None
        en, zh = (title.en, title.zh) if title else ("Meter", "仪表")
        meter: dict[str, Any] = {
            "id": id_,
            "name": {"en": f"{en} {address}", "zh": f"{zh} {address}"},
            "energy_user": "CHANGE-ME",
            "profile": profile or "CHANGE-ME",
            "bus": bus,
            "address": address,
        }
        setting = each.setting
        if setting is None and profile and self._target.bus.kind == "serial":  # a pseudo-terminal has no speed
            line = self._target.profiles[profile].line
            setting = LineSettings(line.baud, line.parity, line.stop_bits)
        if setting is not None and setting != usual:
            meter["line"] = {"baud": setting.baud, "parity": setting.parity}
        comment = verdict
        if verdict == "unclear" and each.recognition:
            comment = "or " + ", ".join(each.recognition.alike)
        return f"  - {one_line(meter)}  # {comment}"

    # ------------------------------------------------------------------------------------------------- both

    def _known(self, each: Found) -> Meter | None:
        if self._target.plant is None:
            return None
        meters = self._target.plant.meters_on(self._target.bus.id)
        if each.every_unit and len(meters) == 1:
            return meters[0]
        return next((meter for meter in meters if meter.address == each.address), None)

    @staticmethod
    def _profile(each: Found) -> str:
        return each.recognition.best.profile if each.recognition and each.recognition.best else ""

    @staticmethod
    def _verdict(each: Found) -> str:
        if each.collides:
            return "collides"
        return each.recognition.verdict if each.recognition else "none"

    @staticmethod
    def _verdict_values(each: Found) -> dict[str, int]:
        if each.recognition is not None and each.recognition.verdict == "unclear":
            return {"count": 1 + len(each.recognition.alike)}
        return {}


def reason_text(reason: Reason, lang: str) -> str:
    """One reason in words."""
    return text(f"why.{reason.code}", lang, **reason.values)


def took_text(seconds: float, lang: str) -> str:
    """A time that has passed."""
    if seconds < 90:
        return text("time.took", lang, n=f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}")
    return text("time.took_min", lang, m=int(seconds // 60), s=round(seconds % 60))
