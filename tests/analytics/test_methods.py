"""Every method page has a worked example, and the code gives what the page worked out by hand."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from analytics.baselines import DayBooks
from analytics.benchmarks import LoadShape, Quota, SpecificEnergy, load_shape, specific_energy
from analytics.carbon import Purpose, choose_grid_factor
from analytics.coal_equivalent import Basis, choose_coal_factor, water_use
from analytics.conversion import Use, choose, convert
from analytics.counter_model import CounterRules, rate_of_power
from analytics.counter_track import follow_track
from analytics.counters import interval_energies
from analytics.detectors.counter_breaks import breaks_as_findings
from analytics.detectors.frozen import find_frozen
from analytics.detectors.off_hours import idle_threshold
from analytics.detectors.overload import find_overload
from analytics.detectors.own_word import find_rises
from analytics.detectors.phase_loss import find_current_loss
from analytics.detectors.register_power import compare_blocks
from analytics.detectors.silent import find_silence
from analytics.detectors.spikes import find_outliers
from analytics.detectors.view import Learnt
from analytics.detectors.zero import find_zero
from analytics.history.causes import name_of_factor
from analytics.history.chance import Runs
from analytics.history.days import compare
from analytics.history.garbled import swapped
from analytics.series import CounterSeries
from meterline.factors import load_factors
from meterline.paths import factors_dir
from meterline.readings import Quality
from tests.analytics.methods_of_accounts import ACCOUNTS
from tests.analytics.methods_of_energy import ENERGY

PAGES = Path(__file__).resolve().parents[2] / "docs" / "methods"
MIN = 60 * 10**9
TODAY = dt.date(2026, 11, 23)
FACTORS = load_factors(factors_dir())
Given = dict[str, Any]


def counter_energy(given: Given) -> Given:
    rules = CounterRules(
        max_gap_ns=given["longest_gap_min"] * MIN,
        max_rate=rate_of_power(given["rated_kw"]),
        wraps_at=given["modulus_kwh"] * 10**6,
    )
    counter = CounterSeries.of(np.array(given["minutes"]) * MIN, np.array(given["display_kwh"]) * 10**6)
    result = interval_energies(counter, rules, step_ns=15 * MIN)
    return {
        "energy_kwh": (result.micro / 1e6).tolist(),
        "coverage": result.coverage.tolist(),
        "estimated": [bool(bits & Quality.ESTIMATED) for bits in result.quality.tolist()],
        "events": [event.kind.value for event in result.events],
        "total_kwh": result.total_micro / 1e6,
    }


def shape(given: Given) -> Given:
    kw = np.repeat(*np.array([(level, count) for count, level in given["quarters_kw"]]).T)
    counter = CounterSeries.of(np.arange(kw.size + 1) * 15 * MIN, np.concatenate(([0], np.cumsum(kw) * 10**6 // 4)))
    result = load_shape(interval_energies(counter, CounterRules(max_gap_ns=15 * MIN), step_ns=15 * MIN))
    assert isinstance(result, LoadShape)
    return {name: getattr(result, name) for name in given["expected"]}


def specific(given: Given) -> Given:
    levels = given["quota"]
    quota = Quota(levels["limit"], levels["entry"], levels["advanced"], "kgce/t", "page")
    result = specific_energy(given["energy_kgce"], "kgce", given["output_t"], "t", quota)
    assert isinstance(result, SpecificEnergy)
    return {"value": result.value, "grade": str(result.grade), "to_next": result.to_next}


def coal(given: Given) -> Given:
    factor = {
        name: choose_coal_factor(FACTORS, name, Basis.CURRENT, TODAY) for name in ("electricity", "heat", "water")
    }
    uses = [
        Use("electricity", given["electricity_kwh"], "kWh", factor["electricity"]),
        Use("heat", given["heat_gj"], "GJ", factor["heat"]),
        water_use(given["water_m3"], factor["water"]),
    ]
    table = convert(uses, "kgce")
    return {
        "lines_tce": [line.result_t for line in table.lines],
        "total_tce": table.total_t,
        "edition": ", ".join(table.editions),
    }


def carbon(given: Given) -> Given:
    gas = Use("natural gas", given["gas_m3"], "m3", choose(FACTORS, "combustion", "fuel.natural_gas", TODAY))

    def scope2(purpose: Purpose) -> float:
        factor = choose_grid_factor(FACTORS, purpose, given["region"], TODAY)
        return convert([Use("electricity", given["electricity_kwh"], "kWh", factor)], "kgCO2").total_t

    return {
        "scope1_t": convert([gas], "kgCO2").total_t,
        "scope2_regional_t": scope2(Purpose.REGIONAL_INVENTORY),
        "scope2_enterprise_t": scope2(Purpose.ENTERPRISE_REPORT),
    }


def silent(given: Given) -> Given:
    heard = np.concatenate([np.arange(a, b + 1) for a, b in given["heard_min"]]) * MIN
    spans = find_silence(heard, 0, given["now_min"] * MIN, given["poll_s"] * 10**9)
    return {"silent_min": [[span.start_ns // MIN, span.end_ns // MIN] for span in spans]}


def counter_breaks(given: Given) -> Given:
    rules = CounterRules(max_gap_ns=10 * MIN, max_rate=given["most_kwh_per_min"] * 1e6 / 60)

    def kinds(shown: list[int]) -> str:
        track = follow_track(CounterSeries.of(np.arange(len(shown)) * MIN, np.array(shown) * 10**6), rules)
        return ",".join(finding.kind for finding in breaks_as_findings("m1", track.events, MIN))

    return {kinds(shown): shown for shown in given["expected"].values()}


def frozen(given: Given) -> Given:
    def counts(equal: int) -> bool:
        values = np.arange(float(given["samples"]))
        values[500 : 500 + equal] = -1.0
        return find_frozen(values[None, :]) == [(500, 500 + equal)]

    return {"counts": {equal: counts(equal) for equal in given["expected"]["counts"]}}


def own_word(given: Given) -> Given:
    count = np.array([np.nan if n is None else n for n in given["count"]], dtype=float)
    return {"rises": [list(rise) for rise in find_rises(count)]}


def zero(given: Given) -> Given:
    power = np.array(given["power_kw"], dtype=float)
    return {"runs": [list(run) for run in find_zero(power, np.full((3, power.size), 230.0), 230.0)]}


def spikes(given: Given) -> Given:
    flat = np.full(given["samples"], float(given["level_kw"]))
    spike, step = flat.copy(), flat.copy()
    spike[given["at"]] = given["spike_kw"]
    step[given["at"] :] = given["spike_kw"]
    return {
        "outliers": np.flatnonzero(find_outliers(spike)).tolist(),
        "outliers_of_a_step": np.flatnonzero(find_outliers(step)).tolist(),
    }


def overload(given: Given) -> Given:
    return {"runs": [list(run) for run in find_overload(np.array(given["power_kw"], dtype=float), given["rated_kw"])]}


def off_hours(given: Given) -> Given:
    learnt = Learnt(idle_kw=given["idle_kw"], idle_spread_kw=given["spread_kw"], work_kw=given["work_kw"])
    limits = idle_threshold(None, learnt, given["rated_kw"])
    assert limits is not None
    return {"threshold_kw": limits[1]}


def phase_loss(given: Given) -> Given:
    amps, (one, two, three) = np.array(given["current_a"], dtype=float), given["share"]
    found = find_current_loss(np.repeat(amps[:, None], 4, axis=1), (one, two, three), 20.0)
    return {"lost_phase": found[0][0], "expected_a": float(amps[:2].sum() * three / (1 - three))}


def register_power(given: Given) -> Given:
    counted, integrated = (np.array([float(given[name])]) for name in ("counted_kwh", "integrated_kwh"))
    return {"times_allowed": float(compare_blocks(counted, integrated, np.zeros(1), given["digit_kwh"])[0])}


def meter_history(given: Given) -> Given:
    runs = Runs(1, least=1)
    known = np.ones((1, given["per_day"]), bool)
    for day in range(given["days"]):
        runs.take(~known, known)
        runs.end_day(day, given["per_day"])
    return {"exchanged": float(swapped(np.array([given["value"]]))[0]), "repeats_needed": int(runs.need[0])}


def balance_witness(given: Given) -> Given:
    seen = given["true_kw"] * given["factor"]
    lacking = given["true_kw"] / seen - 1.0
    return {"name": name_of_factor(given["factor"]), "lacking": lacking, "lacking_kwh_a_day": lacking * seen * 24.0}


def use_by_day(given: Given) -> Given:
    usual = np.array([[float(given["quiet_kw"])] * 10 + [float(given["busy_kw"])] * 14])
    books = DayBooks(1)
    for day in range(7, 28):
        books.learn(day, usual, np.ones(1, bool))
    expected = books.expected(28)
    more, leak = (compare(hours, expected) for hours in (usual * given["times"], usual + given["leak_kw"]))
    return {
        "level": float(more.level[0]),
        "apart": float(more.apart[0]),
        "floor_excess_kw": float(leak.floor[0]),
        "busy_excess_kw": float(leak.busy[0]),
    }


RECOMPUTED: dict[str, Callable[[Given], Given]] = {
    "counter-energy": counter_energy,
    "load-shape": shape,
    "specific-energy": specific,
    "coal-equivalent": coal,
    "carbon": carbon,
    "silent": silent,
    "counter-breaks": counter_breaks,
    "frozen": frozen,
    "own-word": own_word,
    "zero": zero,
    "spikes": spikes,
    "overload": overload,
    "off-hours": off_hours,
    "phase-loss": phase_loss,
    "register-power": register_power,
    "meter-history": meter_history,
    "balance-witness": balance_witness,
    "use-by-day": use_by_day,
    **ENERGY,
    **ACCOUNTS,
}


def close(expected: Any, got: Any) -> bool:
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and expected.keys() == got.keys()
            and all(close(v, got[k]) for k, v in expected.items())
        )
    if isinstance(expected, list):
        return len(expected) == len(got) and all(map(close, expected, got))
    if isinstance(expected, bool | str):
        return bool(expected == got)
    return bool(got == pytest.approx(expected, rel=2e-4, abs=1e-9))


@pytest.mark.parametrize("name", RECOMPUTED)
def test_worked_example(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    example = re.search(r"## Worked example\n.*?```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None, "a page without a worked example"
    given = yaml.safe_load(example.group(1))
    got = RECOMPUTED[name](given)
    assert close(given["expected"], got), got


def test_every_page_is_recomputed_and_listed() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert pages == set(RECOMPUTED)
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert all(f"({page}.md)" in index for page in pages)
