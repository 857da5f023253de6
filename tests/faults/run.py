"""Plays the scenes: one chain a stage, its faults one after the other, stages side by side; each fault gets its row."""

from __future__ import annotations

import json
import shutil
import time
import traceback
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random

from tests.faults.chain import Chain, NotHere
from tests.faults.checker import Counted, Violations
from tests.faults.energy import kwh_error
from tests.faults.evidence import open_message, read_days
from tests.faults.plant_files import METERS, RATIOS
from tests.faults.play import LONG, SCENES, STAGES, Play, Profile, Scene

MOST_LINES_PER_MIN = 60
ROUNDING_KWH = 2e-6


@dataclass
class Row:
    """What one fault did: the invariants of FAULTS.md §4, measured.

    Attributes
    ----------
    verdict
        ``held``, ``broken``, or ``not run`` where this machine cannot play it.
    lost, dup, wrong, chain, missed
        Invariants 1, 2, 3, 7, 6: how many names were found that must not be there.
    kwh_error
        Invariant 9, of the chain from the fault's beginning on; None where it was not judged. [kWh]
    live_s, backlog_s
        Invariant 4, from the fault's end. [s]
    rss_mb, headend_rss_mb, disk_mb, lines_per_min, descriptors, threads
        Invariant 5: the most since the chain's start; journal and store together; the louder, the greedier of the two.
    answered, readings, compared
        Slots the meters answered, readings stored, counter readings compared with the display: of the chain so far.
    declared, excused
        Numbers declared lost with a reason; slots absent because the gateway was dead, as the scene did it.
    """

    fault: str
    stage: str
    seed: int
    verdict: str = "held"
    seconds: float = 0.0
    lost: int = 0
    dup: int = 0
    wrong: int = 0
    chain: int = 0
    missed: int = 0
    kwh_error: float | None = None
    intervals: int = 0
    live_s: float | None = None
    backlog_s: float | None = None
    rss_mb: float = 0.0
    headend_rss_mb: float = 0.0
    disk_mb: float = 0.0
    lines_per_min: int = 0
    descriptors: int = 0
    threads: int = 0
    answered: int = 0
    batches: int = 0
    readings: int = 0
    compared: int = 0
    declared: int = 0
    excused: int = 0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    folder: str = ""


@dataclass(frozen=True)
class Job:
    """The scenes of one stage, in order."""

    stage: str
    scenes: tuple[int, ...]
    """Places in `SCENES`."""
    profile: Profile
    seed: int
    folder: Path


def jobs_of(scenes: Iterable[Scene], profile: Profile, seed: int, folder: Path) -> list[Job]:
    """The stages of these scenes, the longest first."""
    grouped: dict[str, list[int]] = {}
    for scene in scenes:
        grouped.setdefault(scene.stage, []).append(SCENES.index(scene))
    jobs = [Job(name, tuple(places), profile, seed, folder) for name, places in grouped.items()]
    return sorted(jobs, key=lambda job: (job.stage not in LONG, -len(job.scenes)))


def play_all(jobs: list[Job], workers: int) -> list[Row]:
    """All jobs, so many side by side."""
    load_scenes()
    if workers == 1:
        return [row for job in jobs for row in play_stage(job)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return [row for rows in pool.map(play_stage, jobs, chunksize=1) for row in rows]


def load_scenes() -> None:
    """Import the scripts, so that they register."""
    import tests.faults.scenes  # noqa: F401


def play_stage(job: Job) -> list[Row]:
    """One stage from its chain's start to its end; a chain that did not recover is put away and a new one started."""
    load_scenes()
    rows: list[Row] = []
    run: StageRun | None = None
    for place in job.scenes:
        scene = SCENES[place]
        if run is None:
            run = StageRun(job, len(rows))
        row = run.play(scene)
        rows.append(row)
        if run.failed:
            run.end()
            left = [SCENES[other] for other in job.scenes[len(rows) :]]
            why = f"not played: the chain of stage {job.stage} did not start"
            return rows + [Row(other.fault, job.stage, job.seed, "broken", problems=[why]) for other in left]
        if scene.last or row.verdict == "broken" or place == job.scenes[-1]:
            run.end()
            run = None
    return rows


class StageRun:
    """One chain and the rows of the faults it was given."""

    def __init__(self, job: Job, number: int) -> None:
        self.job = job
        self.folder = job.folder / f"{job.stage}-{number}"
        self.chain = Chain(self.folder, STAGES[job.stage], job.seed)
        self.before = Violations()
        self.rows: list[tuple[Row, int]] = []
        self.failed = self.not_here = ""
        try:
            self.chain.start()
        except NotHere as reason:
            self.not_here = str(reason)
        except (AssertionError, OSError, RuntimeError) as error:
            words = " / ".join(p.last_words(3) for p in self.chain.programs)
            self.failed = f"the chain did not start: {str(error)[-300:]}; {words[-600:]}"

    def play(self, scene: Scene) -> Row:
        """One fault: played, waited for, judged."""
        row = Row(scene.fault, scene.stage, self.job.seed, folder=str(self.folder))
        play = Play(self.chain, Random(f"{self.job.seed}/{scene.fault}"), self.job.profile)
        if self.not_here:
            row.verdict, row.notes = "not run", [self.not_here]
            return row
        if self.failed:
            row.verdict, row.problems = "broken", [self.failed]
            return row
        self.rows.append((row, self.chain.clock.now_ns()))
        try:
            scene.script(self.chain, play)
            since = play.over_s or time.monotonic()
            recovery = self.chain.recover(since, play.within_s, play.meters)
            row.live_s, row.backlog_s = recovery.live_s, recovery.backlog_s
            late = recovery.live_s is None and self.chain.wish.judge_slots
            play.expect(not late, "live data did not come back")
            play.expect(recovery.backlog_s is not None, "the backlog did not drain")
            self._judge(row)
            self._alerts(play)
        except Exception:  # noqa: BLE001 - a scene that breaks is a row that says so; the next one is played
            play.problems.append(traceback.format_exc(limit=-3).strip()[-600:])
        self._measure(row, play)
        row.notes, row.problems = play.notes, row.problems + play.problems
        _decide(row)
        return row

    def end(self) -> None:
        """Stop the chain, judge once more what was on its way, add up the energy."""
        chain = self.chain
        try:
            if not self.failed and self.rows:
                last = self.rows[-1][0]
                try:
                    last_ns = chain.clock.now_ns() - chain.lag_ns
                    stop_s = chain.finish()
                    if stop_s > 5:
                        last.problems.append(f"the gateway took {stop_s:.1f} s to stop")
                    self._judge(last, until_ns=last_ns)
                    self._energy()
                except (AssertionError, OSError) as error:
                    last.problems.append(f"the chain could not be ended: {error}")
                for row, _ in self.rows:
                    _decide(row)
        finally:
            chain.stop()
        if all(row.verdict == "held" for row, _ in self.rows) and not self.failed:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _judge(self, row: Row, until_ns: int | None = None) -> None:
        bad, counted = self.chain.judge(until_ns)
        new, self.before = bad.minus(self.before), bad
        row.lost += len(new.lost)
        row.dup += len(new.dup)
        row.wrong += len(new.wrong)
        row.chain += len(new.chain)
        row.missed += len(new.missed)
        for name, found in asdict(new).items():
            row.problems += [f"{name}: {each}" for each in sorted(map(str, found))[:4]]
        _copy(counted, row)

    def _energy(self) -> None:
        if not self.chain.wish.judge_slots:
            return
        messages = [open_message(raw, self.chain.key) for raw, _ in read_days(self.chain.store).messages]
        for row, begun_ns in self.rows:
            for meter in METERS:
                error, count = kwh_error(self.chain.store, messages, meter, RATIOS[meter], begun_ns)
                row.kwh_error = max(row.kwh_error or 0.0, error)
                row.intervals += count

    def _alerts(self, play: Play) -> None:
        """One announcement that it began and one that it is over."""
        if not play.alerts:
            return
        program, word = play.alerts.split(":")
        lines = [line for at, line in getattr(self.chain, program).lines if at >= play.began_s]
        begun = [line for line in lines if f"{word}:" in line and not line.endswith(f"{word}: over")]
        over = [line for line in lines if line.endswith(f"{word}: over")]
        play.notes.append(f"{word}: {len(begun)} begun, {len(over)} over")
        play.expect(len(begun) == 1 and len(over) == 1, f"{word} announced {len(begun)} times, over {len(over)} times")

    def _measure(self, row: Row, play: Play) -> None:
        chain = self.chain
        now = time.monotonic()
        row.seconds = now - play.began_s
        row.rss_mb, row.headend_rss_mb = chain.gateway.maxima.rss_mb, chain.headend.maxima.rss_mb
        row.disk_mb = chain.disk_mb
        row.descriptors = max(p.maxima.descriptors for p in (chain.gateway, chain.headend))
        row.threads = max(p.maxima.threads for p in (chain.gateway, chain.headend))
        row.lines_per_min = max(p.lines_per_min(play.began_s, now) for p in (chain.gateway, chain.headend))
        for program in (chain.gateway, chain.headend):
            for at, line in program.lines:
                if at >= play.began_s and "Traceback" in line and not play.traceback_meant:
                    play.problems.append(f"{program.name} printed a traceback")
                    break


def _copy(counted: Counted, row: Row) -> None:
    for name, value in asdict(counted).items():
        setattr(row, name, value)


def _decide(row: Row) -> None:
    broken = row.lost or row.dup or row.wrong or row.chain or row.missed or row.problems
    if row.kwh_error is not None and row.kwh_error > ROUNDING_KWH and "energy" not in str(row.problems):
        row.problems.append(f"energy: {row.kwh_error:.6f} kWh wrong")
    if row.lines_per_min > MOST_LINES_PER_MIN:
        row.problems.append(f"{row.lines_per_min} log lines in a minute")
    row.verdict = "broken" if broken or row.problems else "held"


def as_json(rows: list[Row], profile: str, seed: int, seconds: float) -> str:
    """Everything measured, for a machine."""
    return json.dumps(
        {"profile": profile, "seed": seed, "seconds": round(seconds, 1), "rows": [asdict(row) for row in rows]},
        indent=1, ensure_ascii=False,
    )  # fmt: skip
