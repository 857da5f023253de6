"""What only the whole of a site file shows: names that lead nowhere, circles, two meters on one address."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from zoneinfo import ZoneInfo

from meterline.documents import Lines, PathKey, place_text
from meterline.errors import Problem
from meterline.line_rules import address_problem, bus_problems, line_problem, switch_problem
from meterline.profiles import WORDS, ModbusProfile, Profile
from meterline.site import Bus, Meter, Site, parse_ratio

__all__ = ["address_problem", "line_problem", "site_problems"]


def site_problems(site: Site, profiles: Mapping[str, Profile] | None, file: str, lines: Lines) -> Iterator[Problem]:
    """Every contradiction inside one site file, and between it and its profiles.

    Parameters
    ----------
    profiles
        Known profiles by name; None if some could not be read (then nothing is said about them here).
    """

    def at(*path: str | int) -> str:
        key: PathKey = path
        return place_text(key, lines.nearest(key))

    users = {user.id for user in site.energy_users}
    buses = {bus.id: bus for bus in site.buses}
    meters = {meter.id: meter for meter in site.meters}
    for group, ids in (
        ("energy_users", [user.id for user in site.energy_users]),
        ("buses", [bus.id for bus in site.buses]),
        ("meters", [meter.id for meter in site.meters]),
        ("products", [product.id for product in site.products]),
    ):
        counts = Counter(ids)
        for index, name in enumerate(ids):
            if counts[name] > 1:
                yield Problem(file, at(group, index, "id"), f"id {name!r} is used twice", "ids are unique")
    for index, user in enumerate(site.energy_users):
        if user.parent is not None and user.parent not in users:
            yield Problem(
                file, at("energy_users", index, "parent"), f"no energy user {user.parent!r}", _among(user.parent, users)
            )
    yield from _loops({u.id: u.parent for u in site.energy_users}, file, at("energy_users"), "parent")
    yield from _loops({m.id: m.fed_by for m in site.meters}, file, at("meters"), "fed_by")
    taken: dict[tuple[str, str, int], str] = {}
    for index, meter in enumerate(site.meters):
        if meter.energy_user not in users:
            yield Problem(
                file,
                at("meters", index, "energy_user"),
                f"no energy user {meter.energy_user!r}",
                _among(meter.energy_user, users),
            )
        if meter.fed_by is not None and meter.fed_by not in meters:
            yield Problem(
                file, at("meters", index, "fed_by"), f"no meter {meter.fed_by!r}", _among(meter.fed_by, meters)
            )
        if meter.bus not in buses:
            yield Problem(file, at("meters", index, "bus"), f"no bus {meter.bus!r}", _among(meter.bus, buses))
        other = taken.setdefault((meter.bus, meter.address, meter.first_word), meter.id)
        if other != meter.id:
            yield Problem(
                file, at("meters", index, "address"),
                f"{meter.id} and {other} both have address {meter.address!r} on bus {meter.bus}",
                "two meters on one address answer at once: change one, on the meter and here",
            )  # fmt: skip
        if profiles is not None:
            profile = profiles.get(meter.profile)
            if profile is None:
                yield Problem(
                    file,
                    at("meters", index, "profile"),
                    f"no profile {meter.profile!r}",
                    _among(meter.profile, profiles),
                )
            elif meter.bus in buses:
                yield from _meter_problems(
                    meter, profile, buses[meter.bus], site.site.zone, file, lambda *p, i=index: at("meters", i, *p)
                )
    for name, problem, hint in bus_problems(site.buses):
        yield Problem(file, at("buses", [bus.id for bus in site.buses].index(name)), problem, hint)
    for index, product in enumerate(site.products):
        if product.energy_user not in users:
            yield Problem(
                file,
                at("products", index, "energy_user"),
                f"no energy user {product.energy_user!r}",
                _among(product.energy_user, users),
            )


def _meter_problems(
    meter: Meter, profile: Profile, bus: Bus, zone: ZoneInfo, file: str, at: Callable[..., str]
) -> Iterator[Problem]:
    wrong = address_problem(profile, bus.kind, meter.address)
    if wrong:
        yield Problem(file, at("address"), *wrong)
    wrong = line_problem(profile, bus, meter.settings_on(bus))
    if wrong:
        yield Problem(file, at("bus"), f"bus {bus.id}: {wrong[0]}", wrong[1])
    wrong = switch_problem(meter, bus)
    if wrong:
        yield Problem(file, at("line"), *wrong)
    if profile.value_reference == "primary" and any(
        parse_ratio(r.ct) != 1 or parse_ratio(r.vt) != 1 for r in meter.ratios
    ):
        yield Problem(
            file, at("ratios"), f"{profile.profile} already shows primary values; this ratio would count twice",
            "remove it here and set it in the meter",
        )  # fmt: skip
    yield from _scaling_problems(meter, profile, file, at)
    yield from _exchange_problems(meter, zone, file, at)
    days = Counter(ratio.valid_from for ratio in meter.ratios if not ratio.correction)
    for day, count in days.items():
        if count > 1:
            yield Problem(
                file,
                at("ratios"),
                f"{count} ratios are valid from {day}",
                "keep one, or mark the later one correction: true",
            )


def _exchange_problems(meter: Meter, zone: ZoneInfo, file: str, at: Callable[..., str]) -> Iterator[Problem]:
    """Exchanges that overlap or stand in the wrong order: no moment has two meters, or none twice."""
    for index, (one, other) in enumerate(pairwise(meter.exchanges), start=1):
        if other.span_ns(zone)[0] < one.span_ns(zone)[1] or other.span_ns(zone)[0] == one.span_ns(zone)[0]:
            yield Problem(
                file, at("exchanges", index), f"removed {other.removed}, before the exchange above it was over",
                "put them in order of time, and check 'removed' and 'installed' of both",
            )  # fmt: skip


def _scaling_problems(meter: Meter, profile: Profile, file: str, at: Callable[..., str]) -> Iterator[Problem]:
    """Pulse counters without pulses per unit, analog inputs without a span, and either where it has no meaning."""
    wanted = profile.scaled_by if isinstance(profile, ModbusProfile) else None
    hints = {
        "pulses": 'add ratios: [{valid_from: 2026-01-01, pulses: "450"}], as on the plate of what gives the pulses',
        "span": "add ratios: [{valid_from: 2026-01-01, span: {raw: [4000, 20000], value: [0, 250]}}]",
    }
    if wanted and not meter.ratios:
        yield Problem(file, at("ratios"), f"{profile.profile} counts steps; nothing says what one is", hints[wanted])
    for index, ratio in enumerate(meter.ratios):
        given = {"pulses": ratio.pulses is not None, "span": ratio.span is not None}
        for name, there in given.items():
            if there and name != wanted:
                yield Problem(
                    file,
                    at("ratios", index, name),
                    f"{profile.profile} is not scaled by {name}; this would count twice",
                    "remove it here",
                )
        if wanted and not given[wanted]:
            yield Problem(
                file, at("ratios", index), f"{profile.profile} counts steps; {wanted} is missing", hints[wanted]
            )
    if meter.first_word and not isinstance(profile, ModbusProfile):
        yield Problem(file, at("first_word"), f"{profile.profile} has no word addresses", "remove first_word")
    elif meter.first_word:
        assert isinstance(profile, ModbusProfile)
        last = max(c.at + WORDS[c.type or "uint16"] for p in profile.points for c in profile.cells_of(p))
        if last + meter.first_word > 0x10000:
            yield Problem(
                file, at("first_word"), f"moved by {meter.first_word} words it ends at {last + meter.first_word}",
                "addresses end at 65535: check it",
            )  # fmt: skip


def _loops(above: Mapping[str, str | None], file: str, place: str, key: str) -> Iterator[Problem]:
    done: set[str] = set()
    for start in above:
        path: list[str] = []
        here: str | None = start
        while here is not None and here not in done and here in above:
            if here in path:
                ring = " -> ".join([*path[path.index(here) :], here])
                yield Problem(file, place, f"{key} runs in a circle: {ring}", "one of them must be the top")
                break
            path.append(here)
            here = above[here]
        done.update(path)


def _among(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names[:12]) or 'none'}"
