"""What people say of a finding is kept, and what is settled is not told again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics.findings import Finding, Severity
from headend.entries import State
from headend.feedback import DAY_NS, Feedback, FeedbackBox, Verdict
from headend.findings import FindingsBook, Looked
from tests.headend.small_plant import HOUR, MINUTE, T0, small_plant

PLANT = small_plant()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[FindingsBook]:
    book = FindingsBook(tmp_path / "catalogue.sqlite", PLANT)
    yield book
    book.close()


def find(book: FindingsBook, start: int, meter: str = "m-p1") -> list[str]:
    """An hour of standstill from `start` on; what is reported of it."""
    finding = Finding("stuck", meter, start, start + HOUR, Severity.ALARM, 0.9, {"seen_kw": 4.2})
    now = start + 2 * HOUR
    return [event.what for event in book.observe([finding], {m: Looked(now, MINUTE) for m in PLANT.meters}, now)]


def test_a_false_alarm_is_kept_and_not_told_again_at_this_meter(book: FindingsBook) -> None:
    assert find(book, T0)[0] == "opened"
    said = Feedback(1, Verdict.FALSE, "Li Wei", "a test load", T0 + 3 * HOUR)
    assert book.feedback(said).state(T0 + 4 * HOUR) is State.SHELVED
    assert book.verdicts(1) == [said]
    find(book, T0 + 10 * HOUR)
    again = book.entry(2)
    assert again.state(T0 + 13 * HOUR) is State.SHELVED
    assert "a test load" in again.acknowledged_why
    find(book, T0 + 10 * HOUR, meter="m-p2")  # at another meter it is news
    assert book.entry(3).state(T0 + 13 * HOUR) is not State.SHELVED


def test_after_the_quiet_time_it_is_told_again(book: FindingsBook) -> None:
    find(book, T0)
    book.feedback(Feedback(1, Verdict.FALSE, "Li Wei", "a test load", T0 + 3 * HOUR))
    late = T0 + 100 * DAY_NS
    find(book, late)
    assert book.entry(2).state(late + 3 * HOUR) is State.RETURNED


def test_a_confirmed_one_is_told_again(book: FindingsBook) -> None:
    find(book, T0)
    assert book.feedback(Feedback(1, Verdict.CONFIRMED, "Li Wei", "fuse", T0)).state(T0 + DAY_NS) is State.CLOSED
    find(book, T0 + 10 * HOUR)
    assert book.entry(2).state(T0 + 13 * HOUR) is State.RETURNED


def test_a_verdict_needs_a_name_and_a_reason() -> None:
    with pytest.raises(ValueError, match="who you are and why"):
        Feedback(1, Verdict.KNOWN, "Li Wei", " ", T0)


def test_notes_of_another_process_are_taken_in_once(book: FindingsBook, tmp_path: Path) -> None:
    find(book, T0)
    box = FeedbackBox(tmp_path)
    said = Feedback(1, Verdict.KNOWN, "李伟", "冬季停产", T0 + 3 * HOUR)
    note = box.put(said)
    torn = note.with_name("0-torn.json")
    torn.write_text('{"entry": 1, "verd')
    assert book.take_notes(box) == 1
    assert book.verdicts(1) == [said]
    assert book.take_notes(box) == 0
    assert torn.with_suffix(".unreadable").is_file()
