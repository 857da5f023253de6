"""Group C: the gateway's disk."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.faults.chain import Chain
from tests.faults.evidence import journal_records, read_days
from tests.faults.mqtt_proxy import MqttProxy
from tests.faults.plant_files import Wish, write_gateway
from tests.faults.play import Play, plays, stage
from tests.faults.scenes_network import QUICK
from tests.servers.waiting import wait_until

DISK = stage("disk", Wish(hooks=("gateway@disk",), constants=QUICK))
QUOTA = stage("quota", Wish(hooks=("gateway@quota",), constants={**QUICK, "gateway_firmware_py.batcher:PRUNE_S": 0.5}))
SMALL = stage("small file system", Wish(constants=QUICK, data_mb=4))
DAMAGE = stage("damage", Wish(constants=QUICK))


@plays("C01", on=DISK)
def no_file_may_grow(chain: Chain, play: Play) -> None:
    """The kernel refuses every write (RLIMIT_FSIZE, no root needed): live data goes on from memory."""
    chain.gateway.limit(resource.RLIMIT_FSIZE, 0)
    _live_goes_on(chain, play, 6)
    chain.gateway.unlimit(resource.RLIMIT_FSIZE)
    _disk_back(chain, play)


@plays("C01/small file system", on=SMALL, profile="soak")
def file_system_full(chain: Chain, play: Play) -> None:
    """Somebody else's file fills the gateway's file system (a tmpfs of 4 MB, as root), and goes away later."""
    ballast = chain.data / "somebody-elses-file"
    for _ in range(3):
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        chain.pass_time(1)
        with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
            while True:  # what the gateway gave up meanwhile is taken, too
                file.write(bytes(4096))
        _live_goes_on(chain, play, 6)
        ballast.unlink()
        chain.pass_time(6)
    _disk_back(chain, play)


@plays("C03", on=DISK)
def no_space_now_and_then(chain: Chain, play: Play) -> None:
    """ENOSPC at random moments, for moments: no half batch, no number twice."""
    for _ in range(play.count(4, 40)):
        chain.order("gateway", {"disk": {"do": "full"}})
        chain.pass_time(play.rng.uniform(0.1, 1.5))
        chain.order("gateway", {})
        chain.pass_time(play.rng.uniform(0.1, 1.5))
    _disk_back(chain, play)


@plays("C04", on=DISK)
def sync_fails(chain: Chain, play: Play) -> None:
    """EIO of every sync: what was written then is not trusted."""
    chain.order("gateway", {"disk": {"do": "eio"}})
    _live_goes_on(chain, play, 4)
    chain.order("gateway", {})
    _disk_back(chain, play)


@plays("C05", on=DISK)
def power_cuts(chain: Chain, play: Play) -> None:
    """Power goes at a sync: of every file of the journal only what had been synced before is left."""
    for _ in range(play.count(4, 60)):
        chain.order("gateway", {"disk": {"do": "power-cut", "nth": play.rng.randrange(1, 5)}})
        chain.gateway.wait_ended(20)
        died_ns = chain.clock.now_ns()
        _take_away_unsynced(chain)
        chain.order("gateway", {})
        chain.restart_gateway(died_ns)
        chain.pass_time(play.rng.uniform(0.3, 1.5))
    play.notes.append(f"{play.count(4, 60)} power cuts")


@plays("C09", on=DISK)
def read_only(chain: Chain, play: Play) -> None:
    """Every change is refused with EROFS, as after a read-only remount."""
    chain.order("gateway", {"disk": {"do": "read-only"}})
    _live_goes_on(chain, play, 4)
    chain.order("gateway", {})
    _disk_back(chain, play)


@plays("C10", on=DISK)
def slow_disk(chain: Chain, play: Play) -> None:
    """Every sync takes two seconds: polling keeps its slots."""
    chain.order("gateway", {"disk": {"do": "slow", "s": 2.0}})
    chain.pass_time(7)
    chain.order("gateway", {})
    play.expect(play.said("gateway", "disk-slow: "), "the slow disk was not named")


@plays("C02", on=QUOTA)
def quota_full_of_unsent(chain: Chain, play: Play) -> None:
    """The link is down until the quota is full of what nobody has: the oldest goes, and each number of it is told."""
    chain.settle()
    chain.up.refuse()
    chain.order("gateway", {"quota": {"bytes": 5000}})
    until = time.monotonic() + play.count(14, 60)
    while time.monotonic() < until:
        chain.checker.note_journal(chain.data / "journal")
        chain.pass_time(0.3)
    chain.order("gateway", {})
    chain.up.heal()
    play.over()
    chain.settle()
    told = {reason for _, _, _, reason in read_days(chain.store).lost}
    play.expect(told == {"quota"}, f"told lost: {sorted(told)}")


@plays("F06", on=QUOTA)
def asked_for_what_is_pruned(chain: Chain, play: Play) -> None:
    """The store is gone and the gateway has pruned what was acknowledged: what it has comes again, the rest is told."""
    chain.pass_time(3)
    chain.settle()
    chain.order("gateway", {"quota": {"bytes": 3000}})
    wait_until(
        lambda: chain.checker.note_journal(chain.data / "journal") < chain.checker.committed.keys(), within=20,
        what="the gateway to prune",
    )  # fmt: skip
    chain.pass_time(2)
    chain.order("gateway", {})
    chain.headend.kill()
    shutil.rmtree(chain.store / "hot")
    chain.headend.start()


@plays("C06", on=DAMAGE)
def torn_tail(chain: Chain, play: Play) -> None:
    """The journal's last kilobyte turns to zeros while nothing of it had been sent."""
    with _dead_with_unsent(chain, play, 5) as newest:
        data = newest.read_bytes()
        newest.write_bytes(data[:-1500] + bytes(1500))


@plays("C06/cut off", on=DAMAGE)
def cut_tail(chain: Chain, play: Play) -> None:
    """The journal's last file lost its end in the middle of a record."""
    with _dead_with_unsent(chain, play, 5) as newest:
        newest.write_bytes(newest.read_bytes()[:-1500])


@plays("C07", on=DAMAGE)
def bit_rot(chain: Chain, play: Play) -> None:
    """One bit of an unsent batch turns over on the disk: it is told lost, and nothing wrong is stored."""
    with _dead_with_unsent(chain, play, 4) as newest:
        data = bytearray(newest.read_bytes())
        data[len(data) - 700] ^= 0x10
        newest.write_bytes(data)


@plays("C08", on=DAMAGE)
def destroyed_headers(chain: Chain, play: Play) -> None:
    """state.db is no database any more, and the newest epoch's card is rubbish."""
    with _dead_with_unsent(chain, play, 3) as newest:
        for ending in ("-wal", "-shm"):  # else SQLite mends the file from them
            (chain.data / f"state.db{ending}").unlink(missing_ok=True)
        (chain.data / "state.db").write_bytes(b"not a database at all" * 300)
        (newest.parent / "epoch.json").write_bytes(b"\0" * 64)
    play.expect(play.said("gateway", "state.db was damaged"), "the damaged state.db was not named")


@plays("C11", on=DAMAGE)
def journal_deleted(chain: Chain, play: Play) -> None:
    """Somebody deletes the journal while the gateway runs."""
    chain.settle()
    chain.checker.note_journal(chain.data / "journal")
    shutil.rmtree(chain.data / "journal")
    wait_until(lambda: (chain.data / "journal").exists(), within=20, what="a new journal")


@plays("C12", on=DAMAGE)
def old_backup(chain: Chain, play: Play) -> None:
    """An image of five plant minutes ago is put back: numbers it uses again must not touch what is stored."""
    backup = chain.folder / "backup"
    shutil.copytree(chain.data, backup, ignore=shutil.ignore_patterns("lock", "*.sock"))
    chain.pass_time(5)
    chain.settle()
    died_ns = chain.clock.now_ns()
    chain.gateway.kill()
    chain.checker.note_journal(chain.data / "journal")
    shutil.rmtree(chain.data)
    backup.rename(chain.data)
    chain.restart_gateway(died_ns)


@plays("C13", on=DAMAGE)
def new_broker_with_backlog(chain: Chain, play: Play) -> None:
    """The broker's address, the group commit and the quota change while there is a backlog."""
    chain.up.refuse()
    chain.pass_time(4)
    stopped_ns = chain.clock.now_ns()
    chain.gateway.stop()
    other = MqttProxy(chain.broker.port)
    chain.up.heal()
    chain.links.append(other)
    chain.up = other
    write_gateway(chain.folder, Wish(commit_s=0.3, quota_mb=48), other.port)
    chain.restart_gateway(stopped_ns)


@plays("C15", on=DAMAGE)
def reader_holds_snapshot(chain: Chain, play: Play) -> None:
    """Somebody reads state.db and the day's file in one endless transaction: no log grows without bound."""
    with closing(sqlite3.connect(f"file:{chain.data}/state.db?mode=ro", uri=True)) as state:
        day = sorted((chain.store / "hot").glob("*.sqlite"))[-1]
        with closing(sqlite3.connect(f"file:{day}?mode=ro", uri=True)) as store:
            for reader in (state, store):
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            chain.pass_time(play.count(4, 60))
            logs = [*chain.data.glob("*-wal"), *chain.store.rglob("*-wal")]
            largest = max((log.stat().st_size for log in logs), default=0)
    play.notes.append(f"largest write-ahead log {largest / 1e6:.1f} MB")
    play.expect(largest < 16_000_000, f"a write-ahead log of {largest / 1e6:.0f} MB")


def _live_goes_on(chain: Chain, play: Play, real_s: float) -> None:
    """For so long the fault lasts; at its end live data must be fresh all the same, and the state be told."""
    until = time.monotonic() + real_s
    fresh = 0
    while time.monotonic() < until:
        chain.pass_time(0.25)
        fresh += chain.fresh()
    play.expect(fresh > real_s * 4 * 0.6, f"live data was fresh in {fresh} of {real_s * 4:.0f} looks")
    play.expect(chain.fresh(), "live data did not go on")
    play.expect(play.said("gateway", "journal: "), "the disk's state was not told")


def _take_away_unsynced(chain: Chain) -> None:
    """What a power cut leaves: each file of the journal as long as at its last sync."""
    safe: dict[str, int] = {}
    for line in (chain.folder / "synced.jsonl").read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            path, size = json.loads(line)
            safe[path] = size
    for path in (chain.data / "journal").rglob("*.seg"):
        size = safe.get(str(path.resolve()))
        if size is None:
            path.unlink()
        elif path.stat().st_size > size:
            with path.open("rb+") as file:
                file.truncate(size)


def _disk_back(chain: Chain, play: Play) -> None:
    """The fault is over; the gateway has to find out by itself, and say so."""
    play.over()

    def back() -> bool:
        said = [line for _, line in chain.gateway.lines if line.startswith("journal: ")]
        return not said or said[-1] == "journal: over"

    wait_until(back, within=20, what="the disk to be used again")


@contextmanager
def _dead_with_unsent(chain: Chain, play: Play, real_s: float) -> Iterator[Path]:
    """The gateway collects without a link, dies, is damaged by the block, and lives again. Gives the newest segment."""
    chain.settle()
    chain.up.refuse()
    chain.pass_time(real_s)
    died_ns = chain.clock.now_ns()
    chain.gateway.kill()
    chain.checker.note_journal(chain.data / "journal")
    newest = max((chain.data / "journal").rglob("*.seg"), key=lambda path: path.stat().st_mtime_ns)
    before = {(epoch, seq) for epoch, seq, _ in journal_records(chain.data / "journal")}
    yield newest
    destroyed = before - {(epoch, seq) for epoch, seq, _ in journal_records(chain.data / "journal")}
    play.notes.append(f"{len(destroyed)} committed batches destroyed before they could be sent")
    for place in destroyed:  # they exist nowhere any more; what was in them has to be missed by its slots
        chain.checker.committed.pop(place, None)
    chain.up.heal()
    chain.restart_gateway(died_ns)
