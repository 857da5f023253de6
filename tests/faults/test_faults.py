"""The fault profile of `make test`: every fault that can be played here within minutes, one test each.

All that were chosen are played before the first test (several chains side by side); each test then looks at its row.
"""

from __future__ import annotations

import time

import pytest

from tests.faults.play import SCENES
from tests.faults.report import print_table
from tests.faults.run import Row, jobs_of, load_scenes, play_all

load_scenes()
PLAYED = {scene.fault: scene for scene in SCENES if scene.profile == "test"}
SEED = 1
pytestmark = [pytest.mark.faults, pytest.mark.needs_mosquitto, pytest.mark.timeout(400)]


@pytest.fixture(scope="session")
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """Play what was chosen; a chain's folder is kept where something broke."""
    chosen = [
        PLAYED[str(item.callspec.params["fault"])]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_every_invariant_holds
    ]
    began = time.monotonic()
    found = play_all(jobs_of(chosen, "test", SEED, tmp_path_factory.mktemp("faults")), workers=5)
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print_table(found, "test", SEED, time.monotonic() - began, everything=len(chosen) == len(PLAYED))
    return {row.fault: row for row in found}


@pytest.mark.parametrize("fault", PLAYED)
def test_every_invariant_holds(fault: str, rows: dict[str, Row]) -> None:
    row = rows[fault]
    assert row.verdict == "held", f"{row.problems} (files: {row.folder}, seed {row.seed})"
    assert row.compared > 0, "nothing was compared with the displays: this would prove nothing"
