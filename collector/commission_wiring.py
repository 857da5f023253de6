"""Is it wired rightly: voltages, phase sequence, currents led to their own voltages and the right way round, ratio."""

from __future__ import annotations

import math
from collections.abc import Iterable

from collector.commission_facts import Check, Facts, State, off_by, text_of
from collector.wiring import PHASES, wiring
from meterline.plant import parse_ratio

VOLTAGE_SHARE = 0.1
"""A phase voltage this far from nominal is normal. [share]"""
DEAD_SHARE = 0.2
"""Below this share of nominal a phase is dead."""
POWER_SHARE = 0.05
"""P and U·I·PF were not read in one instant: so much they may differ. [share]"""
SMALL_KW = 0.005
OVER_RANGE = 1.2


def voltages(facts: Facts) -> Iterable[Check]:
    nominal = facts.meter.nominal_v
    for phase in PHASES:
        name = f"voltage.{phase}n"
        if name not in facts.values:
            continue
        volts = facts.values[name] * facts.factor(name)
        said = {"volts": text_of(volts), "nominal": text_of(nominal)}
        if volts < DEAD_SHARE * nominal:
            three_wire = "voltage.l12" in facts.values and phase == "l2"
            state: State = "unsure" if three_wire else "failed"
            yield Check("voltage", state, "voltage.three_wire" if three_wire else "voltage.dead", said, phase)
        elif abs(volts - nominal) <= VOLTAGE_SHARE * nominal:
            yield Check("voltage", "passed", "voltage.good", said, phase)
        else:
            yield Check("voltage", "failed", "voltage.off", said, phase)


def sequence(facts: Facts) -> Iterable[Check]:
    """Phase sequence by the meter's own word (DL/T 645-2007, status word 7: bit 0 voltages, 1 currents)."""
    if not facts.electric or "voltage.l2n" not in facts.values:
        return
    word = facts.values.get("status.grid")
    if word is None:
        yield Check("sequence", "unsure", "sequence.none")
    elif int(word) & 3:
        which = "sequence.voltage" if int(word) & 1 else "sequence.current"
        yield Check("sequence", "failed", which)
    else:
        yield Check("sequence", "passed", "sequence.good")


def powers(facts: Facts) -> Iterable[Check]:
    for phase in PHASES:
        names = [f"{what}.{phase}{n}" for what, n in (("voltage", "n"), ("current", ""), ("power.active", ""))]
        if not all(name in facts.values for name in names):
            continue
        volts, amperes, power = (facts.values[name] for name in names)
        apparent = abs(volts * amperes) / 1000
        factor = facts.values.get(f"power_factor.{phase}")
        reactive = facts.values.get(f"power.reactive.{phase}")
        if factor is None and reactive is not None and apparent:
            factor = math.sqrt(max(0.0, 1 - (reactive / apparent) ** 2))
        if factor is None:
            continue
        expected = apparent * abs(factor)
        said = {"power": text_of(abs(power)), "expected": text_of(expected)}
        if max(expected, abs(power)) < SMALL_KW:
            yield Check("power", "unsure", "power.no_load", said, phase)
            continue
        if abs(abs(power) - expected) <= POWER_SHARE * max(expected, abs(power)) + SMALL_KW:
            yield Check("power", "passed", "power.fits", said, phase)
            continue
        off = off_by(abs(power), expected, facts)
        yield Check("power", "failed", "power.off_by" if off else "power.differs", said | {"off": off}, phase)


def sums(facts: Facts) -> Iterable[Check]:
    parts = [facts.values.get(f"power.active.{phase}") for phase in PHASES]
    total = facts.values.get("power.active.total")
    if total is None or any(part is None for part in parts):
        return
    whole = sum(part for part in parts if part is not None)
    said = {"sum": text_of(whole), "total": text_of(total)}
    if max(abs(whole), abs(total)) < SMALL_KW:
        yield Check("sum", "unsure", "power.no_load", {"power": "0", "expected": "0"})
        return
    fits = abs(whole - total) <= POWER_SHARE * max(abs(whole), abs(total)) + SMALL_KW
    yield Check("sum", "passed" if fits else "failed", "sum.fits" if fits else "sum.differs", said)


def connection(facts: Facts) -> Iterable[Check]:
    powers = [facts.values.get(f"power.active.{phase}") for phase in PHASES]
    known = [power for power in powers if power is not None]
    if len(known) < 3:
        total = facts.values.get("power.active.total")
        if facts.electric and total is not None and abs(total) >= SMALL_KW:
            say = "wiring.forward" if total > 0 else "wiring.backward"
            yield Check("wiring", "passed" if total > 0 else "failed", say, {"power": text_of(total)})
        return
    found = wiring(facts.values)
    said = {"angles": ", ".join(f"{angle:+.0f}°" for angle in found.angles_deg)}
    if found.finding == "no-angles":
        negative = [phase.upper() for phase, power in zip(PHASES, known, strict=True) if power < -SMALL_KW]
        if not negative:
            yield Check("wiring", "unsure", "wiring.no_angles")
        else:
            say = "wiring.turned" if len(negative) < 3 else "wiring.backward"
            yield Check("wiring", "failed", say, {"phases": ", ".join(negative), "power": text_of(sum(known))})
    elif found.finding == "no-load":
        yield Check("wiring", "unsure", "wiring.no_load")
    elif found.finding == "sound":
        yield Check("wiring", "passed", "wiring.sound", said)
    elif found.finding == "unclear":
        yield Check("wiring", "unsure", "wiring.unclear", said)
    else:
        for each in found.explanations:
            turned = ", ".join(PHASES[phase].upper() for phase in each.turned)
            moved = ", ".join(
                f"{PHASES[current].upper()} → U{PHASES[voltage].upper()}"
                for voltage, current in enumerate(each.currents)
                if voltage != current
            )
            say = "wiring.both" if turned and moved else "wiring.turned" if turned else "wiring.moved"
            yield Check("wiring", "failed", say, said | {"phases": turned, "moved": moved})


def ratio(facts: Facts) -> Iterable[Check]:
    if not facts.electric:
        return
    meter, told = facts.meter, facts.told
    ratio = meter.ratio_at(facts.now.date())
    secondary = facts.plant.profile_of(meter).value_reference == "secondary"
    for kind, plate, said in (("ct", told.ct, ratio.ct if ratio else "1"), ("vt", told.vt, ratio.vt if ratio else "1")):
        if not plate:
            continue
        if not secondary:
            yield Check("ratio", "unsure", "ratio.in_meter", {"plate": plate}, kind)
            continue
        same = parse_ratio(plate) == parse_ratio(said)
        state: State = "passed" if same else "failed"
        yield Check("ratio", state, "ratio.same" if same else "ratio.other", {"plate": plate, "site": said}, kind)
    currents = [abs(facts.values[f"current.{p}"]) for p in PHASES if f"current.{p}" in facts.values]
    if secondary and ratio is not None and "/" in ratio.ct and currents:
        second = float(ratio.ct.partition("/")[2])
        said_a = {"shown": text_of(max(currents)), "second": f"{second:g}"}
        if max(currents) > OVER_RANGE * second:
            yield Check("ratio", "failed", "ratio.already_primary", said_a, "ct")
    if secondary and not told.ct and ratio is not None:
        yield Check("ratio", "unsure", "ratio.not_told", {"site": ratio.ct}, "ct")
    power = facts.values.get("power.active.total")
    if power is not None and meter.rated:
        primary = abs(power) * facts.factor("power.active.total")
        fits = primary <= OVER_RANGE * meter.rated
        said_kw = {"power": text_of(primary), "rated": text_of(meter.rated)}
        yield Check("rating", "passed" if fits else "failed", "rating.fits" if fits else "rating.over", said_kw)


def clamp(facts: Facts) -> Iterable[Check]:
    for phase, amperes in zip(PHASES, facts.told.clamp_a, strict=False):
        name = f"current.{phase}"
        if name not in facts.values:
            continue
        shown = abs(facts.values[name]) * facts.factor(name)
        said = {"shown": text_of(shown), "clamp": text_of(amperes)}
        if max(shown, amperes) < 0.5:
            yield Check("clamp", "unsure", "clamp.no_load", said, phase)
        elif abs(shown - amperes) <= 0.1 * max(shown, amperes) + 0.5:
            yield Check("clamp", "passed", "clamp.fits", said, phase)
        else:
            yield Check("clamp", "failed", "clamp.differs", said | {"off": off_by(shown, amperes, facts)}, phase)
