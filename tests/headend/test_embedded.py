"""What only the embedded store promises: files, crashes, other processes."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from random import Random

import pytest

from headend.stores import hot
from headend.stores.api import Block, Span
from headend.stores.embedded import EmbeddedReader, EmbeddedStore
from meterline.errors import StoreUnavailable
from tests.headend.gateway_twin import ENERGY, MINUTE, POWER, T0, Twin, block_of, poll
from tests.servers.waiting import wait_until

ALWAYS = Span(0, 2**62)
DAY = 86_400 * 10**9
ROOT = Path(__file__).resolve().parents[2]


def some_blocks(count: int, twin: Twin | None = None) -> list[Block]:
    twin = twin or Twin()
    return [
        twin.block(
            poll("m1", T0 + k * 6 * 3600 * 10**9, 100 + k, k), poll("m2", T0 + k * MINUTE, k, None, qualities=(0, 1))
        )
        for k in range(count)
    ]


def table_hash(folder: Path) -> str:
    """Digest of what is stored, whatever numbers the rows were given."""
    digest = hashlib.sha256()
    for path in sorted((folder / "hot").glob("*.sqlite")):
        with sqlite3.connect(path) as db:
            for query in (
                "SELECT * FROM readings ORDER BY gateway, epoch, seq, place",
                "SELECT gateway, epoch, seq, at_ns, prev, digest, message FROM batches ORDER BY gateway, epoch, seq",
                "SELECT * FROM received ORDER BY 1, 2, 3",
                "SELECT * FROM totals",
            ):
                for row in db.execute(query):
                    digest.update(repr(row).encode())
        db.close()
    return digest.hexdigest()


def test_replay_and_shuffle_leave_the_same_tables(tmp_path: Path) -> None:
    blocks = some_blocks(12)
    hashes = set()
    for k in range(4):
        random, folder = Random(k), tmp_path / str(k)
        order = blocks * (k + 1)
        random.shuffle(order)
        with EmbeddedStore(folder) as store:
            while order:
                size = random.randint(1, 5)
                store.append(order[:size])
                order = order[size:]
        hashes.add(table_hash(folder))
    assert len(hashes) == 1


def test_everything_is_there_after_opening_again(tmp_path: Path) -> None:
    blocks = some_blocks(9)
    with EmbeddedStore(tmp_path) as store:
        store.append(blocks)
        before = (store.received("gw-1"), store.latest(), store.totals())
    with EmbeddedStore(tmp_path) as store:
        assert (store.received("gw-1"), store.latest(), store.totals()) == before
        assert store.append(blocks).new == ()
    reader = EmbeddedReader(tmp_path)
    assert (reader.received("gw-1"), reader.latest(), reader.totals()) == before
    reader.close()


def test_a_folder_without_data_reads_as_empty(tmp_path: Path) -> None:
    reader = EmbeddedReader(tmp_path / "not-there")
    assert reader.gateways() == ()
    assert reader.totals().last_slot_ns is None
    assert len(reader.series("m1", ENERGY, ALWAYS)) == 0
    reader.close()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path), pytest.raises(StoreUnavailable, match="another process is writing"):
        EmbeddedStore(tmp_path)
    with EmbeddedStore(tmp_path) as store:
        assert store.gateways() == ()


def test_days_are_files_and_the_day_is_that_of_the_batch(tmp_path: Path) -> None:
    twin = Twin()
    with EmbeddedStore(tmp_path) as store:
        store.append([twin.block(poll("m1", T0 + k * DAY, k, 0), at_ns=T0 + (k + 1) * DAY) for k in range(5)])
        assert store.series("m1", ENERGY, Span(T0, T0 + 4 * DAY + 1)).slot_ns.tolist() == [
            T0 + k * DAY for k in range(5)
        ]
    names = sorted(path.name for path in (tmp_path / "hot").glob("*.sqlite"))
    assert names == [f"2026-03-0{day}.sqlite" for day in range(2, 7)]


def test_who_reads_while_a_day_begins_sees_it_whole_or_not_at_all(tmp_path: Path) -> None:
    twin = Twin()
    done = threading.Event()
    troubles: list[StoreUnavailable] = []

    def read() -> None:
        reader = EmbeddedReader(tmp_path)
        while not done.is_set():
            try:
                reader.gateways()
            except StoreUnavailable as error:
                troubles.append(error)
        reader.close()

    reading = threading.Thread(target=read)
    with EmbeddedStore(tmp_path) as store:
        reading.start()
        for k in range(60):
            store.append([twin.block(poll("m1", T0 + k * DAY, k, 0), at_ns=T0 + k * DAY)])
        done.set()
        reading.join(10)
    assert troubles == []


def test_readings_can_be_read_with_any_sqlite_tool(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        store.append(some_blocks(1))
    with sqlite3.connect(tmp_path / "hot" / "2026-03-01.sqlite") as db:
        rows = db.execute(
            "SELECT slot_ns, read_ns, value, quality, source FROM readings WHERE meter = 'm1' AND measurand = ?",
            (ENERGY,),
        ).fetchall()
        absent = db.execute(
            "SELECT value, quality FROM readings WHERE meter = 'm2' AND measurand = ?", (POWER,)
        ).fetchall()
    db.close()
    assert rows == [(T0, T0 + 100_000_000, 1.0, 0, "wire")]
    assert absent == [(None, 1)]


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        store.append(some_blocks(1))
    with sqlite3.connect(tmp_path / "hot" / "2026-03-01.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreUnavailable, match="version 99"):
        EmbeddedStore(tmp_path)


def test_a_damaged_file_is_unavailable_not_empty(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        store.append(some_blocks(3))
    (tmp_path / "hot" / "2026-03-01.sqlite").write_bytes(b"this was a database" * 500)
    with pytest.raises(StoreUnavailable, match="2026-03-01"):
        EmbeddedStore(tmp_path)
    reader = EmbeddedReader(tmp_path)
    with pytest.raises(StoreUnavailable, match="2026-03-01"):
        reader.series("m1", ENERGY, ALWAYS)
    reader.close()


def test_a_full_disk_keeps_nothing_half_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`max_page_count` stands in for the disk: SQLite reports the same error (FAULTS M9, M10)."""
    twin = Twin()
    blocks = [twin.block(*(poll(f"m{m}", T0 + k * MINUTE, k, m) for m in range(60))) for k in range(40)]
    with EmbeddedStore(tmp_path) as store:
        store.append(blocks[:2])
        writer = store._writers["2026-03-01"]
        pages = writer._db.execute("PRAGMA page_count").fetchone()[0]
        writer._db.execute(f"PRAGMA max_page_count = {pages + 3}")
        with pytest.raises(StoreUnavailable, match="full"):
            store.append(blocks[2:])
        assert store.received("gw-1") == {twin.epoch: ((1, 2),)}
        assert store.totals().batches == 2
        assert len(store.series("m3", ENERGY, ALWAYS)) == 2
        receipt = store.append(blocks)  # room again: the same call completes it
        assert len(receipt.new) == 38
    with EmbeddedStore(tmp_path) as store:
        assert store.totals().readings == 40 * 120


@pytest.mark.parametrize("step", ["insert", "commit"])
def test_a_failure_on_the_second_day_repeats_without_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    twin = Twin()
    blocks = [twin.block(poll("m1", T0 + k * DAY, k, 0)) for k in range(3)]
    with EmbeddedStore(tmp_path) as store:
        real = getattr(hot.DayWriter, step)
        failed: list[bool] = []

        def fails_once(self: hot.DayWriter, *args: object) -> object:
            if self.path.stem == "2026-03-02" and not failed:
                failed.append(True)
                raise sqlite3.OperationalError("disk I/O error")
            return real(self, *args)

        monkeypatch.setattr(hot.DayWriter, step, fails_once)
        with pytest.raises(StoreUnavailable, match="disk I/O error"):
            store.append(blocks)
        store.append(blocks)
        assert store.received("gw-1") == {twin.epoch: ((1, 3),)}
        assert store.totals().batches == 3
        assert store.series("m1", ENERGY, ALWAYS).micro.tolist() == [0, 10_000, 20_000]


def test_what_another_process_reads_while_this_one_writes(tmp_path: Path) -> None:
    twin = Twin()
    with EmbeddedStore(tmp_path) as store:
        store.append([twin.block(poll("m1", T0, 0, 0))])
        script = f"""
            import sys
            from pathlib import Path
            from headend.stores.api import Span
            from headend.stores.embedded import EmbeddedReader
            reader = EmbeddedReader(Path({str(tmp_path)!r}))
            for _ in sys.stdin:
                print(len(reader.series("m1", "{ENERGY}", Span(0, 2**62))), reader.totals().batches, flush=True)
        """
        reader = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert reader.stdin is not None
        assert reader.stdout is not None
        try:
            seen = []
            for k in range(1, 6):
                store.append([twin.block(poll("m1", T0 + k * MINUTE, k, 0))])
                reader.stdin.write("\n")
                reader.stdin.flush()
                seen.append(reader.stdout.readline().split())
            assert seen == [[str(k + 1), str(k + 1)] for k in range(1, 6)]
        finally:
            reader.stdin.close()
            reader.wait(10)
            reader.stdout.close()


def test_kill_in_the_middle_of_writing_loses_nothing_committed(tmp_path: Path) -> None:
    """kill -9 at any moment: every append that had returned is there, every batch whole."""
    script = f"""
        import sys
        from pathlib import Path
        from headend.stores.embedded import EmbeddedStore
        from tests.headend.gateway_twin import *
        store, twin = EmbeddedStore(Path({str(tmp_path)!r})), Twin()
        for k in range(100_000):
            store.append([twin.block(*(poll(f"m{{m}}", T0 + k * SECOND, k, m) for m in range(20)))])
            print(k + 1, flush=True)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    said = 0
    while said < 40:
        said = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    said = max([said, *(int(line) for line in child.stdout.read().split())])
    child.wait(10)
    child.stdout.close()
    with EmbeddedStore(tmp_path) as store:
        totals = store.totals()
        assert totals.batches in (said, said + 1)
        assert totals.readings == totals.batches * 40
        assert store.received("gw-1") == {"00000000000000aa": ((1, totals.batches),)}
        assert len(store.series("m7", ENERGY, ALWAYS)) == totals.batches


def test_a_slow_reader_does_not_hold_up_the_writer(tmp_path: Path) -> None:
    twin = Twin()
    with EmbeddedStore(tmp_path) as store:
        store.append([twin.block(poll("m1", T0 + k * MINUTE, k, 0)) for k in range(50)])
        with sqlite3.connect(tmp_path / "hot" / "2026-03-01.sqlite", isolation_level=None) as slow:
            slow.execute("BEGIN")
            assert slow.execute("SELECT count(*) FROM polls").fetchone() == (50,)
            store.append([twin.block(poll("m1", T0 + 50 * MINUTE, 50, 0))])
            assert slow.execute("SELECT count(*) FROM polls").fetchone() == (50,)
            slow.execute("COMMIT")
            wait_until(lambda: slow.execute("SELECT count(*) FROM polls").fetchone() == (51,), within=1.0)
        slow.close()


def test_a_block_read_back_from_its_evidence_is_the_same(tmp_path: Path) -> None:
    twin = Twin()
    sealed = [twin.seal(poll("m1", T0 + k * MINUTE, k, k)) for k in range(3)]
    with EmbeddedStore(tmp_path / "one") as store, EmbeddedStore(tmp_path / "two") as copy:
        store.append([block_of(s) for s in sealed])
        kept = [message for _, message in store.messages({}, 10)]
        assert kept == [s.message for s in sealed]
        copy.append([block_of(s) for s in sealed])
    assert table_hash(tmp_path / "one") == table_hash(tmp_path / "two")
