"""The fault profile of `make test`: every fault that can be played here within minutes, one test each.

All are played before the first test (several chains side by side); each test then looks at its fault's row.
"""

from __future__ import annotations

import pytest

from tests.faults.play import SCENES
from tests.faults.report import print_table
from tests.faults.run import Row, jobs_of, load_scenes, play_all

load_scenes()
PLAYED = [scene for scene in SCENES if scene.profile == "test"]
pytestmark = [pytest.mark.faults, pytest.mark.needs_mosquitto, pytest.mark.timeout(400)]


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> dict[str, Row]:
    """Play everything; a folder is kept where something broke."""
    seed = 1
    found = play_all(jobs_of(PLAYED, "test", seed, tmp_path_factory.mktemp("faults")), workers=5)
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():  # type: ignore[union-attr]
        print_table(found, "test", seed, sum(row.seconds for row in found), everything=True)
    return {row.fault: row for row in found}


@pytest.mark.parametrize("fault", [scene.fault for scene in PLAYED])
def test_every_invariant_holds(fault: str, rows: dict[str, Row]) -> None:
    row = rows[fault]
    assert row.verdict == "held", f"{row.problems} (files: {row.folder}, seed {row.seed})"
    assert row.compared > 0, "nothing was compared with the displays: this would prove nothing"
