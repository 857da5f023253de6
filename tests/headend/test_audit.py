"""What is lost behind an acknowledgement is found, asked for, and whole again; what was changed is named and mended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_firmware_py.files import DiskFiles
from gateway_firmware_py.journal import Journal
from headend.audit import Audit, request_reconcile
from headend.audit_book import AuditBook, Stated
from headend.catalogue import Catalogue
from headend.stores.embedded import EmbeddedStore
from meterline.clock import ManualClock
from meterline.wire import HourDigest, LostRange, Ranges, Sealed, digest_of
from tests.gateway.polls import T0_NS
from tests.headend.gateway_twin import Twin, block_of
from tests.meterline.proofs import KEY, MINUTE, checked, days, epoch_of, journal, sql, store

HOURS = 3
NOW = T0_NS + HOURS * 60 * MINUTE
ALL = HOURS * 60 + HOURS + 1
"""Readings' batches, those that state the hours that ended, and the first of the hour that runs."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    journal(folder / "gateway", batches=HOURS * 60 + 1)
    store(folder / "headend", folder / "gateway")
    return folder


class Head:
    """A head-end's audit over a store it may write to, and the gateway that answers its questions."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder / "headend", ManualClock(NOW)
        self.epoch = epoch_of(folder / "gateway")
        self.journal = Journal(DiskFiles(), folder / "gateway" / "journal")
        self.asked: list[tuple[str, str, Ranges]] = []
        self.told: list[str] = []
        self.open()

    def open(self) -> None:
        self.store, self.catalogue = EmbeddedStore(self.folder), Catalogue(self.folder)
        self.book = AuditBook(self.catalogue.path)
        self.audit = Audit(
            self.store, self.catalogue, self.book, self.clock, {"gw1": KEY.public_key()},
            lambda *question: self.asked.append(question), self.folder, lambda day: None, self.told.append,
        )  # fmt: skip

    def close(self) -> None:
        self.book.close()
        self.catalogue.close()
        self.store.close()

    def restart(self) -> None:
        self.close()
        self.open()

    def round(self, hours: float = 0.05) -> dict[str, int]:
        """One round some time later; how many hours are how."""
        self.clock.advance(hours * 3600)
        self.audit.once(self.clock.t_ns)
        return self.book.counts().get("gw1", {})

    def answer(self, *, without: tuple[int, ...] = ()) -> None:
        """The gateway sends what it was asked for, as far as it has it."""
        for gateway, epoch, ranges in self.asked:
            assert gateway == "gw1"
            for first, last in ranges:
                for seq in range(first, last + 1):
                    message = self.journal.read(epoch, seq)
                    if message is not None and seq not in without:
                        self.store.append([block_of(Sealed(epoch, seq, message, digest_of(message)))])
        self.asked.clear()

    def doubtful(self) -> list[Stated]:
        return self.book.doubtful()


@pytest.fixture
def head(originals: Path, tmp_path: Path) -> Iterator[Head]:
    shutil.copytree(originals, tmp_path / "copy")
    made = Head(tmp_path / "copy")
    yield made
    made.close()


def day_file(head: Head) -> Path:
    (path,) = days(head.folder)
    return path


def test_hours_that_are_whole_fit(head: Head) -> None:
    assert head.round() == {"fits": HOURS}
    assert head.asked == []
    (first, *_) = head.book.all()
    assert (first.hour.first, first.hour.last, first.here_readings) == (1, 60, 60 * 2 * 3)
    # 0.01 kWh a minute on one meter, 0.07 on the other
    assert first.hour.advance_micro == first.here_advance == 59 * 10_000 + 59 * 70_000
    assert head.book.newest() == {"gw1": T0_NS + (HOURS - 1) * 60 * MINUTE}


def test_rows_deleted_behind_the_acknowledgement_are_asked_for_and_whole_again(head: Head) -> None:
    head.round()
    sql(day_file(head), "DELETE FROM polls WHERE batch IN (SELECT id FROM batches WHERE seq BETWEEN 70 AND 75)",
        "DELETE FROM batches WHERE seq BETWEEN 70 AND 75")  # fmt: skip
    assert head.store.received("gw1")[head.epoch] == ((1, ALL),), "the ledger still claims them"
    assert head.round(25) == {"fits": HOURS - 1, "missing": 1}
    assert head.asked == [("gw1", head.epoch, ((70, 75),))]
    assert head.told == ["", "gw1: 1 hour(s) with batches gone, asked for again"]
    assert head.store.received("gw1")[head.epoch] == ((1, 69), (76, ALL))
    head.answer()
    assert head.round() == {"fits": HOURS}
    head.close()
    assert checked(head.folder).fine
    head.open()


def test_a_file_removed_under_a_running_head_end_is_noticed_in_the_next_round(head: Head) -> None:
    head.round()
    twin = Twin("gw2")
    head.store.append([twin.block(at_ns=NOW)])  # the file is open for writing
    day_file(head).unlink()
    assert head.round() == {"missing": HOURS}
    ((_, epoch, ranges),) = head.asked
    assert (epoch, ranges) == (head.epoch, ((1, ALL - 2),))
    head.answer()
    assert head.round() == {"fits": HOURS}


def test_a_backup_put_back_is_filled_up(head: Head) -> None:
    head.round()
    head.close()
    path = day_file(head)
    old = path.with_name("old")
    shutil.copy(path, old)
    sql(old, "DELETE FROM polls WHERE batch IN (SELECT id FROM batches WHERE seq > 100)",
        "DELETE FROM batches WHERE seq > 100", "UPDATE received SET last = 100")  # fmt: skip
    old.replace(path)
    head.open()
    assert head.round() == {"fits": 1, "missing": 2}
    assert head.asked == [("gw1", head.epoch, ((101, ALL - 2),))]
    head.answer()
    assert head.round() == {"fits": HOURS}


def test_what_comes_after_the_file_was_exchanged_is_kept_in_the_new_one(head: Head) -> None:
    twin = Twin("gw2")
    head.store.append([twin.block(at_ns=NOW)])
    path = day_file(head)
    spare = path.with_name("spare")
    shutil.copy(path, spare)
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    spare.replace(path)
    head.store.append([twin.block(at_ns=NOW)])
    assert head.store.evidence("gw2", twin.epoch, 2) is not None


def test_everything_wiped_but_the_catalogue(head: Head) -> None:
    head.round()
    head.close()
    shutil.rmtree(head.folder / "hot")
    head.open()
    assert head.round() == {"missing": HOURS}
    head.answer()
    assert head.round() == {"fits": HOURS}


def test_the_unseen_end_of_an_epoch_that_was_left_is_asked_for(head: Head) -> None:
    """A new epoch states the last hour of the old one; that hour never came."""
    old = "00000000000000bb"
    head.book.put("gw1", [HourDigest(old, T0_NS, 1, 40, bytes(32), 9, 0)], NOW)
    assert head.round()["waiting"] == 1
    assert head.asked == [("gw1", old, ((1, 40),))]


def test_it_is_not_asked_again_in_the_same_minute(head: Head) -> None:
    head.round()
    day_file(head).unlink()
    head.round()
    head.round(0.01)
    assert len(head.asked) == 1
    head.round()
    assert len(head.asked) == 2


def test_what_the_gateway_no_longer_has_is_lost_with_its_reason(head: Head) -> None:
    head.round()
    sql(day_file(head), "DELETE FROM polls WHERE batch IN (SELECT id FROM batches WHERE seq = 70)",
        "DELETE FROM batches WHERE seq = 70")  # fmt: skip
    assert head.round(25)["missing"] == 1
    head.answer(without=(70,))
    head.store.append(
        [Twin("gw1", "00000000000000cc").block(lost=(LostRange(head.epoch, 70, 70, "pruned"),), at_ns=NOW)]
    )
    assert head.round() == {"fits": HOURS - 1, "lost": 1}
    assert head.round() == {"fits": HOURS - 1, "lost": 1}
    assert head.asked == []


CHANGED = (
    "UPDATE batches SET message = CAST(substr(message, 1, 80) || x'00' || substr(message, 82) AS BLOB) WHERE seq = 9"
)
READING = "UPDATE polls SET numbers = replace(numbers, '[20,', '[21,') WHERE numbers LIKE '[20,%'"
FEWER = "DELETE FROM polls WHERE numbers LIKE '[20,%'"


@pytest.mark.parametrize("statement", [CHANGED, READING, FEWER])
def test_what_was_changed_is_named_and_mended_only_on_a_persons_word(head: Head, statement: str) -> None:
    head.round()
    sql(day_file(head), statement)
    assert head.round(25) == {"fits": HOURS - 1, "differs": 1}
    assert head.asked == []
    (found,) = head.doubtful()
    assert found.hour.first == 1
    assert found.changed == ((9,) if statement == CHANGED else (21,))
    request_reconcile(head.folder, head.clock.t_ns)
    head.round()
    assert list((head.folder / "requests").iterdir()) == []
    if statement == CHANGED:
        assert head.asked == [("gw1", head.epoch, ((9, 9),))]
        assert head.catalogue.quarantined() == {"tampered": 1}
    else:
        assert head.asked == [], "the signed batch is here: the readings are taken from it again"
    head.answer()
    assert head.round() == {"fits": HOURS}
    head.close()
    assert checked(head.folder).fine
    head.open()


def test_the_hours_of_a_store_that_was_there_before_are_learnt_from_its_batches(head: Head) -> None:
    head.close()
    for path in head.folder.glob("catalogue*"):
        path.unlink()
    head.open()
    assert head.round() == {"fits": HOURS}


def test_a_book_that_is_only_looked_into(head: Head) -> None:
    empty = AuditBook(head.catalogue.path, write=False)
    head.round()
    assert empty.counts() == {"gw1": {"fits": HOURS}}
    empty.close()
