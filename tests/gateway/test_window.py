"""How many at a time, and when again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway_firmware_py.window import SPREAD, Window


def key(seq: int) -> tuple[str, int]:
    return ("e", seq)


def fill(window: Window, now_s: float, start: int = 1) -> list[int]:
    sent: list[int] = []
    while window.has_room():
        sent.append(start + len(sent))
        window.sent(key(sent[-1]), now_s)
    return sent


def test_it_begins_with_four_and_grows_by_one_a_round_to_ten() -> None:
    window = Window()
    window.restart(65535)
    sizes, seq = [], 1
    for round_ in range(12):
        sent = fill(window, round_, seq)
        sizes.append(len(sent))
        for number in sent:
            window.confirmed(key(number))
            window.acknowledged(key(number), round_ + 0.1)
        seq += len(sent)
    assert sizes[0] == 4
    assert sizes == sorted(sizes)
    assert all(b - a <= 1 for a, b in pairwise(sizes))
    assert sizes[-1] == 10


@given(st.integers(1, 30))
def test_never_more_unconfirmed_than_the_broker_takes(receive_maximum: int) -> None:
    window = Window()
    window.restart(receive_maximum)
    seq = 0
    for round_ in range(20):
        sent = fill(window, round_, seq + 1)
        assert len(sent) <= min(receive_maximum, 10)
        seq += len(sent)
        for number in sent:
            window.confirmed(key(number))
            window.acknowledged(key(number), round_)


def test_a_silent_head_end_stops_the_flow_though_the_broker_takes_everything() -> None:
    window = Window()
    window.restart(65535)
    seq = 0
    while window.has_room():
        seq += 1
        window.sent(key(seq), 0.0)
        window.confirmed(key(seq))
    assert seq == SPREAD * 4


def test_waiting_doubles_from_five_seconds_to_five_minutes() -> None:
    window = Window()
    window.restart(10)
    now_s, waits = 0.0, []
    for _ in range(9):
        window.sent(key(1), now_s)
        deadline_s = window.next_deadline_s()
        assert deadline_s is not None
        waits.append(deadline_s - now_s)
        assert window.overdue(deadline_s - 0.001) == []
        assert window.overdue(deadline_s) == [key(1)]
        now_s = deadline_s
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_slow_line_is_given_four_times_its_latency() -> None:
    window = Window()
    window.restart(10)
    window.sent(key(1), 0.0)
    window.acknowledged(key(1), 4.0)
    window.sent(key(2), 10.0)
    assert window.next_deadline_s() == 26.0


def test_the_answer_to_a_repeated_batch_says_nothing_about_latency() -> None:
    window = Window()
    window.restart(10)
    window.sent(key(1), 0.0)
    window.overdue(5.0)
    window.sent(key(1), 5.0)
    window.acknowledged(key(1), 5.1)
    assert window.latency_s is None


def test_many_late_at_once_halve_once() -> None:
    window = Window(start=8)
    window.restart(65535)
    fill(window, 0.0)
    assert len(window.overdue(5.0)) == 8
    assert window.size == 4
    assert window.under_way == 0


def test_a_new_connection_begins_anew_and_returns_what_was_under_way() -> None:
    window = Window()
    window.restart(65535)
    sent = fill(window, 0.0)
    assert window.restart(2) == [key(seq) for seq in sent]
    assert (window.size, window.under_way) == (2, 0)
