"""Every fault of the catalogue has a state that is true, and the page says what the code does."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.catalogue import CATALOGUE, page, state_of
from tests.faults.play import SCENES
from tests.faults.run import load_scenes

load_scenes()
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "faults.md"
GROUPS = {"A": 22, "B": 12, "C": 16, "D": 8, "E": 16, "F": 10, "G": 10, "H": 13, "I": 8, "J": 6}


def test_the_catalogue_is_whole() -> None:
    """121 faults, numbered without a gap."""
    numbers = [f"{group}{number:02d}" for group, count in GROUPS.items() for number in range(1, count + 1)]
    assert list(CATALOGUE) == numbers


def test_every_scene_is_of_the_catalogue_and_plays_once() -> None:
    assert {scene.fault.split("/")[0] for scene in SCENES} <= set(CATALOGUE)
    assert [name for name, times in Counter(scene.fault for scene in SCENES).items() if times > 1] == []


@pytest.mark.parametrize("fault", CATALOGUE)
def test_every_fault_is_played_or_proved_or_says_why_not(fault: str) -> None:
    row = CATALOGUE[fault]
    if state_of(fault).startswith("not run"):
        assert row.why_not, f"{fault} is not run and nobody says why"
    else:
        assert not row.why_not, f"{fault} is run and has a reason why it is not"
    for place in row.elsewhere:
        file, _, test = place.partition("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not test or re.search(rf"^def {test}\(", text, re.M), f"{fault}: there is no {place}"


def test_the_page_shows_the_catalogue_as_it_is() -> None:
    assert page() in PAGE.read_text(encoding="utf-8"), "run: python -m tests.faults --page docs/faults.md"


def test_the_page_shows_a_measured_row_for_every_scene() -> None:
    measured = PAGE.read_text(encoding="utf-8").split("## Measured", 1)[1]
    missing = [s.fault for s in SCENES if s.profile == "test" and f"\n| {s.fault} |" not in measured]
    assert missing == [], "run: python -m tests.faults --page docs/faults.md"
