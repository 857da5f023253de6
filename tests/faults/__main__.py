"""``python -m tests.faults``: play the fault catalogue against real processes and print the table of invariants."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.play import SCENES, Profile
from tests.faults.report import print_table, write_page
from tests.faults.run import as_json, jobs_of, load_scenes, play_all


def main() -> int:
    """Returns 0 when every invariant held, 1 when one was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--profile", choices=("test", "soak"), default="test")
    parser.add_argument("--only", default="", help="faults, with commas: E01,B01")
    parser.add_argument("--seed", type=int, default=1, help="another number, other random moments")
    parser.add_argument("--jobs", type=int, default=5, help="chains side by side; each waits most of the time")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--folder", type=Path, help="work here; kept where something broke")
    parser.add_argument("--page", type=Path, help="write catalogue and table into this page (docs/faults.md)")
    wish = parser.parse_args()
    profile: Profile = wish.profile
    load_scenes()
    only = set(filter(None, wish.only.split(",")))
    scenes = [s for s in SCENES if (profile == "soak" or s.profile == "test") and (not only or s.fault in only)]
    if not scenes:
        parser.error(f"no scene for {wish.only!r} in profile {profile}")
    folder = wish.folder or Path(tempfile.mkdtemp(prefix="meterline-faults-"))
    began = time.monotonic()
    rows = play_all(jobs_of(scenes, profile, wish.seed, folder), wish.jobs)
    seconds = time.monotonic() - began
    print_table(rows, profile, wish.seed, seconds, everything=not only)
    if wish.json:
        wish.json.write_text(as_json(rows, profile, wish.seed, seconds), encoding="utf-8")
    if wish.page:
        write_page(wish.page, rows, profile, wish.seed)
    if all(row.verdict != "broken" for row in rows):
        if wish.folder is None:
            shutil.rmtree(folder)
        return 0
    sys.stdout.write(f"what is left of the broken ones: {folder}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
