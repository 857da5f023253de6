"""One writing connection a process, transactions that keep all or nothing, readers that are not held up."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from headend.catalogue import migrate
from headend.tables import Tables
from meterline.errors import StoreUnavailable

STEPS = ("CREATE TABLE one (x INTEGER NOT NULL); CREATE TABLE other (y TEXT);",)


def test_all_that_write_share_one_connection_until_the_last_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    first, second = Tables(path), Tables(tmp_path / "." / "c.sqlite")
    migrate(first, "test", STEPS)
    with first.transaction() as db, second.transaction() as again:
        assert db is again
    first.close()
    first.close()
    assert second.rows("SELECT * FROM one") == []
    with pytest.raises(sqlite3.ProgrammingError):
        first.rows("SELECT 1")
    second.close()
    third = Tables(path)
    assert third.rows("SELECT * FROM one") == []
    third.close()


def test_a_transaction_is_all_or_nothing_also_from_inside_another(tmp_path: Path) -> None:
    tables = Tables(tmp_path / "c.sqlite")
    migrate(tables, "test", STEPS)

    def breaks() -> None:
        with tables.transaction() as db:
            db.execute("INSERT INTO one VALUES (1)")
            with tables.transaction() as inner:
                inner.execute("INSERT INTO one VALUES (2)")
            db.execute("INSERT INTO one VALUES (NULL)")

    with pytest.raises(sqlite3.IntegrityError):
        breaks()
    assert tables.rows("SELECT * FROM one") == []
    with tables.transaction() as db:
        db.execute("INSERT INTO one VALUES (3)")
    assert [row["x"] for row in tables.rows("SELECT x FROM one")] == [3]
    tables.close()


def test_a_reader_does_not_wait_and_does_not_write(tmp_path: Path) -> None:
    tables = Tables(tmp_path / "c.sqlite")
    migrate(tables, "test", STEPS)
    reader = Tables(tmp_path / "c.sqlite", write=False)
    began, go_on = threading.Event(), threading.Event()

    def long_one() -> None:
        with tables.transaction() as db:
            db.execute("INSERT INTO one VALUES (1)")
            began.set()
            assert go_on.wait(10)

    thread = threading.Thread(target=long_one)
    thread.start()
    assert began.wait(10)
    assert reader.rows("SELECT * FROM one") == []
    go_on.set()
    thread.join(10)
    assert len(reader.rows("SELECT * FROM one")) == 1
    with pytest.raises(sqlite3.OperationalError):
        reader.rows("DELETE FROM one")
    reader.close()
    tables.close()


def test_a_migration_runs_each_step_once_and_the_second_time_writes_nothing(tmp_path: Path) -> None:
    tables = Tables(tmp_path / "c.sqlite")
    migrate(tables, "test", STEPS)
    more = (*STEPS, "ALTER TABLE one ADD COLUMN z INTEGER; CREATE INDEX by_z ON one (z)")
    migrate(tables, "test", more)
    assert [row["name"] for row in tables.rows("PRAGMA table_info(one)")] == ["x", "z"]
    before = tables.rows("PRAGMA data_version")[0][0], tables.rows("SELECT total_changes()")[0][0]
    migrate(tables, "test", more)
    assert (tables.rows("PRAGMA data_version")[0][0], tables.rows("SELECT total_changes()")[0][0]) == before
    with pytest.raises(StoreUnavailable, match="version 2"):
        migrate(tables, "test", STEPS)
    tables.close()


def test_a_step_that_breaks_leaves_the_old_version(tmp_path: Path) -> None:
    tables = Tables(tmp_path / "c.sqlite")
    migrate(tables, "test", STEPS)
    with pytest.raises(sqlite3.OperationalError):
        migrate(tables, "test", (*STEPS, "CREATE TABLE third (a); CREATE TABLE one (b);"))
    assert tables.rows("SELECT name FROM sqlite_master WHERE name = 'third'") == []
    assert tables.rows("SELECT version FROM schema_versions WHERE name = 'test'")[0][0] == 1
    tables.close()
