"""The life of a finding: what counts, what is one thing, what is over, and what nobody can know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.findings import Finding, Severity
from headend.causes import Scope, claims_of
from headend.entries import STATE, Condition, State
from headend.findings import Delays, FindingsBook, Looked, NoSuchFinding
from tests.headend.small_plant import HOUR, MINUTE, T0, small_plant

PLANT = small_plant()
POLL = MINUTE


def finding(kind: str, meter: str, start: int, end: int | None = None, **rest: object) -> Finding:
    values: dict[str, object] = {"severity": Severity.ALARM, "confidence": 0.9, "evidence": {"seen_kw": 4.2}, **rest}
    return Finding(kind=kind, meter=meter, start_ns=start, end_ns=end, **values)  # type: ignore[arg-type]


def all_good(now: int, *, but: tuple[str, ...] = (), silent_since: int | None = None) -> dict[str, Looked]:
    return {m: Looked(silent_since if m in but else now, POLL) for m in PLANT.meters}


@pytest.fixture
def book(tmp_path: Path) -> Iterator[FindingsBook]:
    book = FindingsBook(tmp_path / "catalogue.sqlite", PLANT)
    yield book
    book.close()


def told(book: FindingsBook, *passes: tuple[int, list[Finding], dict[str, Looked]]) -> list[str]:
    """What the passes report, as ``what:subject``."""
    said = []
    for now, findings, looked in passes:
        said += [f"{e.what}:{book.entry(e.entry).subject}" for e in book.observe(findings, looked, now)]
    return said


def test_the_same_finding_again_is_the_same_entry(book: FindingsBook) -> None:
    f = finding("stuck", "m-p1", T0)
    assert told(book, *[(T0 + n * MINUTE, [f], all_good(T0 + n * MINUTE)) for n in range(30)]) == ["opened:m-p1"]
    (entry,) = book.entries(now_ns=T0 + HOUR)
    assert (entry.condition, entry.start_ns, entry.end_ns, entry.times) == (Condition.ACTIVE, T0, None, 1)


def test_it_is_over_when_good_data_say_so_and_not_before(book: FindingsBook) -> None:
    f = finding("stuck", "m-p1", T0)
    end = T0 + 10 * MINUTE
    passes = [(T0 + MINUTE, [f], all_good(T0 + MINUTE))]
    ended = finding("stuck", "m-p1", T0, end)
    passes += [(t, [ended], all_good(t)) for t in range(end, end + 5 * MINUTE, MINUTE)]
    assert told(book, *passes) == ["opened:m-p1"]
    later = end + 5 * MINUTE
    assert told(book, (later, [ended], all_good(later))) == ["returned:m-p1"]
    entry = book.entry(1)
    assert (entry.condition, entry.end_ns, entry.state(later)) == (Condition.OVER, end, State.RETURNED)
    for n in range(10):
        assert told(book, (later + n * MINUTE, [ended], all_good(later + n * MINUTE))) == []


def test_missing_data_resolve_nothing(book: FindingsBook) -> None:
    """FAULTS H10: the link is cut while an alarm stands; the alarm must not be called resolved."""
    now = T0 + 5 * MINUTE
    told(book, (now, [finding("overload", "m-p1", T0)], all_good(now)))
    said = []
    for n in range(1, 200):
        t = now + n * MINUTE
        said += told(book, (t, [], all_good(t, but=("m-p1",), silent_since=now)))
    assert said == ["unknown:m-p1"]
    assert book.entry(1).condition is Condition.UNKNOWN
    assert book.entry(1).state(t) is State.OPEN
    # the meter answers again and the load is still too high
    t += MINUTE
    assert told(book, (t, [finding("overload", "m-p1", t - MINUTE)], all_good(t))) == ["known:m-p1"]
    # ... and then it is not
    assert told(book, (t + HOUR, [], all_good(t + HOUR))) == ["returned:m-p1"]


def test_a_detector_that_ends_a_finding_where_the_data_end_does_not_resolve_it(book: FindingsBook) -> None:
    now = T0 + 5 * MINUTE
    told(book, (now, [finding("off_hours", "m-p1", T0)], all_good(now)))
    cut = finding("off_hours", "m-p1", T0, now + MINUTE)
    said = []
    for n in range(1, 100):
        t = now + n * MINUTE
        said += told(book, (t, [cut], all_good(t, but=("m-p1",), silent_since=now + MINUTE)))
    assert said == ["unknown:m-p1"]


def test_an_earlier_stretch_does_not_end_the_newest_one(book: FindingsBook) -> None:
    early, late = finding("off_hours", "m-p1", T0, T0 + HOUR), finding("off_hours", "m-p1", T0 + HOUR + 20 * MINUTE)
    now = T0 + 2 * HOUR
    assert told(book, (now, [early, late], all_good(now))) == ["opened:m-p1"]
    silent = all_good(now + 9 * MINUTE, but=("m-p1",), silent_since=now)
    assert told(book, (now + 9 * MINUTE, [early], silent)) == ["unknown:m-p1"]
    assert book.entry(1).end_ns is None


def test_a_flapping_thing_is_one_entry_that_counts(book: FindingsBook) -> None:
    said, t = [], T0
    for _ in range(10):
        said += told(book, (t + 2 * MINUTE, [finding("stuck", "m-p1", t)], all_good(t + 2 * MINUTE)))
        said += told(book, (t + 10 * MINUTE, [], all_good(t + 10 * MINUTE)))
        t += 20 * MINUTE
    assert len(book.entries(now_ns=t)) == 1
    assert book.entry(1).times == 10
    assert said == ["opened:m-p1", "returned:m-p1"] + 9 * ["reopened:m-p1", "returned:m-p1"]


def test_one_missed_answer_is_no_alarm(book: FindingsBook) -> None:
    said = told(
        book,
        (T0 + 30 * 10**9, [finding("gap", "m-p1", T0)], all_good(T0, but=("m-p1",), silent_since=T0)),
        (T0 + 5 * MINUTE, [finding("gap", "m-p1", T0, T0 + MINUTE // 2)], all_good(T0 + 5 * MINUTE)),
    )
    assert said == []
    assert book.entries(now_ns=T0 + HOUR, states=set(State)) == []


def test_a_cut_line_is_one_alarm(book: FindingsBook) -> None:
    silent = [finding("gap", "m-p2", T0), finding("gap", "m-p3", T0 + 2 * 10**9)]
    now = T0 + 3 * MINUTE
    assert told(book, (now, silent, all_good(now, but=("m-p2", "m-p3"), silent_since=T0))) == ["opened:line-2"]
    entry = book.entry(1)
    assert (entry.scope, entry.meters, entry.start_ns) == (Scope.BUS, ("m-p2", "m-p3"), T0 + 2 * 10**9)


def test_after_a_cut_line_only_who_stays_silent_is_named(book: FindingsBook) -> None:
    both = [finding("gap", "m-p2", T0), finding("gap", "m-p3", T0)]
    t = T0 + 3 * MINUTE
    told(book, (t, both, all_good(t, but=("m-p2", "m-p3"), silent_since=T0)))
    one = [finding("gap", "m-p2", T0, t), finding("gap", "m-p3", T0)]
    # while the line is coming back, the second meter is no news yet
    assert told(book, (t + MINUTE, one, all_good(t + MINUTE, but=("m-p3",), silent_since=T0))) == []
    later = t + 4 * MINUTE
    said = told(book, (later, one, all_good(later, but=("m-p3",), silent_since=T0)))
    said += told(book, (later + MINUTE, one, all_good(later + MINUTE, but=("m-p3",), silent_since=T0)))
    assert said == ["returned:line-2", "opened:m-p3"]


def test_a_meter_that_was_silent_before_the_line_goes_under_the_line(book: FindingsBook) -> None:
    t = T0 + 10 * MINUTE
    told(book, (t, [finding("gap", "m-p2", T0)], all_good(t, but=("m-p2",), silent_since=T0)))
    both = [finding("gap", "m-p2", T0), finding("gap", "m-p3", t)]
    t2 = t + 5 * MINUTE
    said = told(book, (t2, both, all_good(t2, but=("m-p2", "m-p3"), silent_since=T0)))
    assert said == ["opened:line-2", "absorbed:m-p2"]
    assert book.entry(1).cause == 2
    assert sum(book.counts(t2).values()) == 1


def test_a_dead_gateway_is_one_alarm_and_a_dead_plant_is_one() -> None:
    looked = list(PLANT.meters)
    gaps = [finding("gap", m, T0) for m in PLANT.meters]
    (claim,) = claims_of(gaps, PLANT, looked=looked)
    assert (claim.scope, claim.subject, len(claim.meters)) == (Scope.PLANT, "jinan", 6)
    (claim,) = claims_of(gaps[:4], PLANT, looked=looked)
    assert (claim.scope, claim.subject) == (Scope.GATEWAY, "gw-1")
    (claim,) = claims_of(gaps[4:], PLANT, looked=looked)
    assert (claim.scope, claim.subject) == (Scope.BUS, "line-3")
    (claim,) = claims_of(gaps[4:], PLANT, looked=looked, gone={"gw-2"})
    assert (claim.scope, claim.subject) == (Scope.GATEWAY, "gw-2")


@given(st.sets(st.sampled_from(sorted(PLANT.meters)), min_size=1), st.sets(st.sampled_from(["gw-1", "gw-2"])))
def test_every_silent_meter_is_in_exactly_one_claim(silent: set[str], gone: set[str]) -> None:
    claims = claims_of([finding("gap", m, T0) for m in silent], PLANT, looked=list(PLANT.meters), gone=gone)
    assert sorted(m for c in claims for m in c.meters) == sorted(silent)


def test_an_ended_gap_is_nobodys_line() -> None:
    gaps = [finding("gap", m, T0, T0 + HOUR) for m in ("m-p2", "m-p3")]
    assert [c.scope for c in claims_of(gaps, PLANT, looked=list(PLANT.meters))] == [Scope.METER, Scope.METER]


def test_a_flurry_of_spikes_is_one_entry(book: FindingsBook) -> None:
    spikes = [finding("spike", "m-p1", T0 + n * HOUR, T0 + n * HOUR + MINUTE) for n in range(4)]
    said = []
    for n in range(4):
        t = T0 + n * HOUR + 2 * MINUTE
        said += told(book, (t, spikes[: n + 1], all_good(t)))
    assert said == ["opened:m-p1", "returned:m-p1"] + 3 * ["reopened:m-p1", "returned:m-p1"]
    assert (book.entry(1).times, book.entry(1).start_ns, book.entry(1).end_ns) == (4, T0, T0 + 3 * HOUR + MINUTE)


def test_replayed_history_is_marked_as_such(book: FindingsBook) -> None:
    now = T0 + 72 * HOUR
    told(book, (now, [finding("overload", "m-p1", T0, T0 + HOUR)], all_good(now)))
    assert book.entry(1).stale
    told(book, (now, [finding("overload", "m-c1", now - 2 * HOUR, now - HOUR)], all_good(now)))
    assert not book.entry(2).stale


def test_acknowledging_shelving_and_coming_back(book: FindingsBook) -> None:
    t = T0 + 5 * MINUTE
    told(book, (t, [finding("stuck", "m-p1", T0)], all_good(t)))
    with pytest.raises(ValueError, match="who you are"):
        book.acknowledge(1, who="  ", why="", now_ns=t)
    with pytest.raises(NoSuchFinding):
        book.acknowledge(7, who="Li", why="", now_ns=t)
    assert book.acknowledge(1, who="Li Wei", why="electrician called", now_ns=t).state(t) is State.ACKNOWLEDGED
    assert book.shelve(1, until_ns=t + HOUR, who="Li Wei", why="repair", now_ns=t).state(t) is State.SHELVED
    assert book.entry(1).state(t + HOUR) is State.ACKNOWLEDGED
    told(book, (t + HOUR, [], all_good(t + HOUR)))
    assert book.entry(1).state(t + HOUR) is State.CLOSED
    back = t + HOUR + 10 * MINUTE
    told(book, (back, [finding("stuck", "m-p1", t + 20 * MINUTE)], all_good(back)))
    assert book.entry(1).state(back) is State.OPEN, "it came back: the old acknowledgement does not count"
    assert [e.what for e in book.history(1)] == ["opened", "acknowledged", "shelved", "returned", "reopened"]
    assert [(e.who, e.why) for e in book.history(1)][1] == ("Li Wei", "electrician called")


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    path, f = tmp_path / "catalogue.sqlite", finding("stuck", "m-p1", T0)
    said = []
    for n in range(1, 6):  # a new process each minute
        book = FindingsBook(path, PLANT)
        said += told(book, (T0 + n * MINUTE, [f], all_good(T0 + n * MINUTE)))
        book.close()
    assert said == ["opened:m-p1"]


def test_a_pass_that_fails_leaves_nothing_behind(book: FindingsBook) -> None:
    class Broken(dict[str, Looked]):
        def __getitem__(self, key: str) -> Looked:
            raise RuntimeError("power cut")

    told(book, (T0 + MINUTE, [finding("stuck", "m-c1", T0)], all_good(T0 + MINUTE)))
    before = book.entries(now_ns=T0 + HOUR, states=set(State))
    new = [finding("stuck", "m-p1", T0 + MINUTE)]
    with pytest.raises(RuntimeError):
        book.observe(new, Broken(all_good(T0 + HOUR)), T0 + HOUR)
    assert book.entries(now_ns=T0 + HOUR, states=set(State)) == before
    assert told(book, (T0 + HOUR, new, all_good(T0 + HOUR))) == ["returned:m-c1", "opened:m-p1"]


def test_state_in_sql_and_in_python_agree(book: FindingsBook) -> None:
    t = T0 + 10 * MINUTE
    subjects = ["m-main", "m-p1", "m-p2", "m-p3", "m-c1", "m-c2"]
    found = [finding("stuck", m, T0) for m in subjects[:4]]
    found += [finding("counter_rollover", "m-c1", T0, T0 + MINUTE, severity=Severity.INFO)]
    found += [finding("stuck", "m-c2", T0, T0 + MINUTE)]
    told(book, (t, found, all_good(t)))
    book.acknowledge(3, who="Li", why="", now_ns=t)
    book.shelve(4, until_ns=t + HOUR, who="Li", why="", now_ns=t)
    states = {entry.state(t) for entry in book.entries(now_ns=t)}
    assert states == {State.ACKNOWLEDGED, State.SHELVED, State.OPEN, State.CLOSED, State.RETURNED}
    for state in State:
        for entry in book.entries(now_ns=t, states={state}):
            assert entry.state(t) is state
    assert "pending" in STATE


PASSES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(PASSES)
def test_over_means_that_good_data_came(
    tmp_path_factory: pytest.TempPathFactory, passes: list[tuple[bool, bool]]
) -> None:
    """Law: an entry is over only if its meter delivered for the off-delay without the thing being there."""
    book = FindingsBook(tmp_path_factory.mktemp("book") / "c.sqlite", PLANT, delays={"stuck": Delays(0, 3 * MINUTE, 0)})
    last_good, last_there, now = T0, None, T0
    for there, answers in passes:
        now += MINUTE
        last_good = now if answers else last_good
        found = [finding("stuck", "m-p1", now - MINUTE)] if there and answers else []
        last_there = now if found else last_there
        looked = {"m-p1": Looked(last_good, MINUTE)}
        for event in book.observe(found, looked, now):
            if event.what == "returned":
                assert last_there is not None
                assert last_good - last_there >= 3 * MINUTE
    for entry in book.entries(now_ns=now):
        assert entry.lasts or entry.end_ns is not None
    book.close()
