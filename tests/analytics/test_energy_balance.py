"""Balances by hand, against drawn errors, and one node against the fleet's vectorised sums."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from analytics.energy_balance import Balance, Cause, Term, balance, fleet_balance
from analytics.fitness import NotFit
from analytics.losses import Cable, Transformer
from analytics.uncertainty import Amount, Influence, MeteringPoint, energy_amount, metering_point
from meterline.accuracy import load_accuracy
from meterline.paths import accuracy_dir

CLASSES = load_accuracy(accuracy_dir() / "electricity.yaml")
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "methods" / "energy-balance.md").read_text(encoding="utf-8")
EXAMPLE: dict[str, Any] = yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])
WANT = EXAMPLE["expected"]


def point(name: str, accuracy_class: str, **more: Any) -> MeteringPoint:
    found = metering_point(name, accuracy_class, CLASSES, **more)
    assert isinstance(found, MeteringPoint)
    return found


def amount(name: str, accuracy_class: str, kwh: float, **more: Any) -> Amount:
    return energy_amount(point(name, accuracy_class, **more), [kwh], power_factor=0.9)


def closed(*terms: Term, losses: tuple[Amount, ...] = ()) -> Balance:
    found = balance("works", terms, losses)
    assert isinstance(found, Balance)
    return found


def the_loss() -> Amount:
    transformer = Transformer("t1", EXAMPLE["p0_kw"], EXAMPLE["pk_kw"], EXAMPLE["rated_kva"])
    return transformer.loss(np.full(96, EXAMPLE["kw"] / 4), 0.25, 0.9)


def test_the_worked_example() -> None:
    loss = the_loss()
    assert loss.value == pytest.approx(WANT["loss_kwh"])
    main = Term("main", 1, amount("main", "0.5S", EXAMPLE["in_kwh"]))
    one, two = (Term(f"m{n}", -1, amount(f"m{n}", "1", kwh)) for n, kwh in enumerate(EXAMPLE["below_kwh"], start=1))
    found = closed(main, one, two, losses=(loss,))
    assert found.residual.value == pytest.approx(0.0, abs=1e-6)
    assert found.residual.expanded == pytest.approx(WANT["U_kwh"], abs=0.1)
    assert not found.open
    assert found.causes == ()
    wrong = closed(main, one, Term("m2", -1, amount("m2", "1", WANT["wrong_shows_kwh"])), losses=(loss,))
    assert wrong.residual.value == pytest.approx(WANT["residual_kwh"])
    assert wrong.open
    assert wrong.causes[0] == (Cause.WRONG_RATIO, "m2")


def test_causes_look_like_what_they_are() -> None:
    main = Term("main", 1, amount("main", "0.5S", 1000.0))
    reversed_one = closed(main, Term("a", -1, amount("a", "1", 700.0)), Term("b", -1, amount("b", "1", 100.0)))
    assert reversed_one.causes[0] == (Cause.REVERSED_CT, "b")
    unseen = closed(main, Term("a", -1, amount("a", "1", 600.0)), Term("b", -1, amount("b", "1", 310.0)))
    assert unseen.causes == ((Cause.UNMETERED, ""),)
    too_much = closed(main, Term("a", -1, amount("a", "1", 900.0)), Term("b", -1, amount("b", "1", 210.0)))
    assert too_much.causes[-1] == (Cause.TOPOLOGY, "")


def test_what_two_terms_share_cancels() -> None:
    """Main and sub-meter on one set of current transformers: only the meters' own errors are left between them."""
    shared = [amount(name, "1", 1000.0, ct_class="0.5S", ct_key="t") for name in ("main", "sub")]
    own = [amount(name, "1", 1000.0, ct_class="0.5S") for name in ("main", "sub")]
    one, two = (closed(Term("main", 1, a), Term("sub", -1, b)) for a, b in (shared, own))
    assert one.residual.expanded == pytest.approx(2 * 10 * math.sqrt(2 / 3))
    assert two.residual.expanded > one.residual.expanded


def test_too_little_measured_is_no_balance() -> None:
    main, sub = Term("main", 1, Amount(10.0)), Term("sub", -1, Amount(9.0), coverage=0.85)
    found = balance("works", [main, sub])
    assert isinstance(found, NotFit)
    assert "sub: 85%" in str(found)
    assert isinstance(balance("works", [main]), NotFit)


def test_balances_with_drawn_errors_are_closed_as_often_as_promised() -> None:
    rng = np.random.default_rng(4)
    rounds, opened = 500, 0
    subs = rng.uniform(500, 3000, 6)
    loss_kwh, limit = 84.0, 0.15
    for _ in range(rounds):
        shown = [kwh * (1 + rng.uniform(-1, 1) * 0.01) for kwh in subs]
        main = (subs.sum() + loss_kwh * (1 + rng.uniform(-1, 1) * limit)) * (1 + rng.uniform(-1, 1) * 0.006)
        terms = [Term("main", 1, amount("main", "0.5S", main))]
        terms += [Term(f"m{n}", -1, amount(f"m{n}", "1", kwh)) for n, kwh in enumerate(shown)]
        loss = Amount(loss_kwh, (Influence("transformer loss", "t", loss_kwh * limit / math.sqrt(3)),))
        opened += closed(*terms, losses=(loss,)).open
    assert 0.005 * rounds < opened < 0.07 * rounds, "U holds in about 95 %, and is no wider than it must be"


def test_the_fleet_is_the_sum_of_its_nodes() -> None:
    rng = np.random.default_rng(9)
    energies = rng.uniform(100, 1000, (6, 5))
    energies[5, 2] = np.nan
    systematic = np.tile(np.array([0.01, 0.005]) / math.sqrt(3), (6, 1))
    instrument = np.stack([np.arange(6), np.array([10, 11, 11, 12, 13, 14])], axis=1)
    independent = rng.uniform(0, 1, (6, 5))
    nodes = [{0: 1, 1: -1, 2: -1}, {3: 1, 4: -1, 5: -1}]
    fleet = fleet_balance(energies, systematic, independent, instrument, nodes)
    for row, terms in enumerate(nodes):
        for day in range(5):
            if row == 1 and day == 2:
                assert np.isnan(fleet.residual[row, day])
                assert not fleet.open[row, day]
                continue
            alone = closed(*(
                Term(str(m), sign, Amount(energies[m, day], (
                    *(Influence("s", str(key), energies[m, day] * u)
                      for key, u in zip(instrument[m], systematic[m], strict=True)),
                    Influence("i", f"own {m}", independent[m, day]),
                )))
                for m, sign in terms.items()
            ))  # fmt: skip
            assert fleet.residual[row, day] == pytest.approx(alone.residual.value)
            assert fleet.expanded[row, day] == pytest.approx(alone.residual.expanded)
            assert fleet.open[row, day] == alone.open


def test_a_cable_by_hand() -> None:
    """100 m of 95 mm2 copper, 0.0193 ohm, 400 V, 90 kW at power factor 0.9: I = 144.3 A, 3 I^2 R = 1.206 kW."""
    found = Cable("c", 0.0193, 400.0).loss(np.array([90.0]), 1.0, 0.9)
    assert found.value == pytest.approx(3 * (100e3 / (math.sqrt(3) * 400)) ** 2 * 0.0193 / 1000, rel=1e-9)
    assert found.expanded == pytest.approx(2 * 0.2 / math.sqrt(3) * found.value)
