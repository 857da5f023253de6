"""What the gateway says about itself can always be read, and says each change once."""

from __future__ import annotations

from gateway_firmware_py.health import HealthDesk, MeterBook, Troubles
from meterline.clock import ManualClock
from meterline.readings import MissingSpan
from meterline.wire import Health, decode_health, encode_health
from tests.gateway.polls import T0_NS, poll


def test_a_trouble_is_announced_when_it_begins_and_when_it_ends() -> None:
    said: list[str] = []
    troubles = Troubles(said.append)
    for detail in ("no space", "no space", "still no space", "", ""):
        troubles.set("journal", detail)
    assert said == ["journal: no space", "journal: over"]
    assert troubles.now() == ()


def test_whatever_an_error_says_fits_into_the_message() -> None:
    troubles = Troubles(lambda line: None)
    troubles.set("uplink", "line one\nline two\x00 " + "x" * 300)
    desk = HealthDesk(lambda state: Health("gw1", "e" * 16, state, T0_NS), MeterBook(), troubles)
    (text,) = decode_health(encode_health(desk.message("running"))).troubles
    assert text.startswith("uplink: line one line two")
    assert len(text) <= 120


def test_meters_and_figures_come_together() -> None:
    book = MeterBook()
    book.poll(poll(1))
    book.poll(poll(2, meter="m2"))
    book.missing(MissingSpan("m2", T0_NS, None, "garbled"))
    desk = HealthDesk(lambda state: Health("gw1", "e" * 16, state, T0_NS, 1, 9, 4), book, Troubles(lambda line: None))
    desk.add(lambda: {"backlog": 3.0})
    health = decode_health(encode_health(desk.message("stopping")))
    assert health.state == "stopping"
    assert (health.first_seq, health.next_seq, health.acked) == (1, 9, 4)
    assert health.figures == {"polls": 2.0, "readings": 6.0, "readings_without_value": 0.0, "backlog": 3.0}
    assert health.meters == {"m1": (poll(1).slot_ns, ""), "m2": (poll(2).slot_ns, "garbled")}


def test_what_comes_and_goes_all_the_time_is_not_said_all_the_time() -> None:
    said: list[str] = []
    clock = ManualClock(0)
    troubles = Troubles(said.append, clock.monotonic_s)
    for _ in range(600):
        troubles.set("disk-slow", "a commit took 2.0 s")
        troubles.set("disk-slow", "")
        troubles.set("journal", "")
        clock.advance(0.5)
    minutes = 5
    assert len(said) <= 7 * minutes
    assert said[:2] == ["disk-slow: a commit took 2.0 s", "disk-slow: over"]
    assert "disk-slow: has come and gone 240 times in 60 s" in said
    assert troubles.silenced > 1000
    troubles.set("journal", "No space left on device")
    assert said[-1] == "journal: No space left on device", "one word's flood does not drown another"
