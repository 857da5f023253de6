"""A scan of a floor finds every meter, names its type or says it cannot, disturbs nobody and says how long it takes."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest

from collector.scan import AnotherMaster
from meterline.errors import LineDown
from meterline.lines import LineSettings
from tests.collector.rs485 import PackageDrop, Wires, WordsDrop, frames_of
from tests.collector.scan_floor import (
    E2400,
    E9600,
    E19200,
    ITEM_METER,
    N9600,
    N19200,
    On,
    Outcome,
    scanned,
)
from tests.collector.sites import SHIPPED

DICE = random.Random(645)
BOX = [f"22064{DICE.randrange(10**7):07d}" for _ in range(13)]
FLOOR = [
    *[On("acrel-dtsd1352", str(n)) for n in range(1, 10)],
    *[On("eastron-sdm630", str(n)) for n in range(11, 18)],
    *[On("chint-dtsu666", str(n), E9600) for n in range(20, 25)],
    *[On("schneider-iem3000", str(n), E19200) for n in range(40, 44)],
    *[On("abb-b23", str(n), N9600, {"delay_s": 0.06}) for n in range(60, 63)],
    On("siemens-pac3200", "126", N19200),
    *[On(ITEM_METER, address, E2400, {"delay_s": 0.02 + 0.01 * (n % 9)}) for n, address in enumerate(BOX)],
]


@cache
def whole() -> Outcome:
    return scanned(FLOOR)


def test_forty_meters_of_seven_makes_are_all_found_and_named() -> None:
    outcome = whole()
    assert len(FLOOR) >= 40
    assert set(outcome.found) == {on.address for on in FLOOR}
    for on in FLOOR:
        found = outcome.found[on.address]
        assert found.setting == on.settings, on
        assert not found.collides
        assert found.recognition is not None
        assert found.recognition.best is not None, on
        assert found.recognition.best.profile == on.profile, found.recognition
        assert found.recognition.verdict == "likely"
    assert outcome.remarks == set()
    assert outcome.took_s < 13 * 60  # every likely speed, protocol and address of a serial line


def test_the_time_left_is_honest() -> None:
    outcome = whole()
    took = outcome.took_s
    begin = outcome.progress[0]
    assert 0.4 * took < begin.left_s < 1.2 * took  # meters not known yet cannot be counted
    for share in (0.25, 0.5, 0.75, 0.9):
        at = min(outcome.progress, key=lambda each: abs(each.done_s - share * took))
        true = took - at.done_s
        assert at.left_s == pytest.approx(true, rel=0.3, abs=10), share
    assert outcome.progress[-1].left_s < 2.0


def test_a_narrow_wish_is_quick() -> None:
    outcome = scanned(FLOOR[:9], baud=9600, parity="N", tongues=["modbus"], addresses=list(range(1, 11)))
    assert set(outcome.found) == {str(n) for n in range(1, 10)}
    assert outcome.took_s < 40


def test_what_was_found_stays_when_a_scan_is_interrupted() -> None:
    first = scanned(FLOOR, within_s=whole().took_s / 2)
    assert isinstance(first.error, TimeoutError)
    assert 0 < len(first.found) < len(FLOOR)
    assert set(first.found) < set(whole().found)


def test_a_slow_meter_is_found_by_its_late_answer() -> None:
    slow = [On("eastron-sdm630", "7", N9600, {"delay_s": 0.9}), On("eastron-sdm630", "8"), On("eastron-sdm630", "30")]
    outcome = scanned(slow, baud=9600, parity="N", tongues=["modbus"])
    assert set(outcome.found) == {"7", "8", "30"}
    took = outcome.found["7"].response_s
    assert took is not None
    assert took > 0.9


def test_the_last_address_may_be_slow_too() -> None:
    outcome = scanned([On("eastron-sdm630", "247", N9600, {"delay_s": 0.8})], baud=9600, parity="N", tongues=["modbus"])
    assert set(outcome.found) == {"247"}


def test_two_meters_on_one_address_collide_and_are_said() -> None:
    outcome = scanned(
        [On("eastron-sdm630", "5"), On("acrel-dtsd1352", "5", N9600, {"delay_s": 0.031}), On("eastron-sdm630", "6")],
        baud=9600, parity="N", tongues=["modbus"],
    )  # fmt: skip
    assert outcome.found["5"].collides
    assert not outcome.found["6"].collides


def test_two_item_meters_on_one_address_collide_and_are_said() -> None:
    outcome = scanned(
        [
            On(ITEM_METER, BOX[0], E2400),
            On(ITEM_METER, BOX[0], E2400, {"delay_s": 0.0511}),
            On(ITEM_METER, BOX[1], E2400),
        ],
        tongues=["dlt645"], baud=2400, parity="E",
    )  # fmt: skip
    assert outcome.found[BOX[0]].collides
    assert not outcome.found[BOX[1]].collides


def test_a_meter_alone_is_found_without_a_search() -> None:
    outcome = scanned([On(ITEM_METER, "000000012345", E2400)], tongues=["dlt645"], baud=2400, parity="E")
    assert set(outcome.found) == {"000000012345"}
    assert outcome.wires.asked < 30


@pytest.mark.parametrize("seed", range(3))
def test_shortened_addresses_find_every_meter_of_a_full_line(seed: int) -> None:
    dice = random.Random(seed)
    # From one box: neighbours in all digits but the last four, so that shortened addresses collide.
    meters = [
        On(ITEM_METER, f"21030012{n:04d}", E2400, {"delay_s": dice.uniform(0.02, 0.2)})
        for n in dice.sample(range(10_000), 32)
    ]
    outcome = scanned(meters, tongues=["dlt645"], baud=2400, parity="E", profiles={})
    assert set(outcome.found) == {on.address for on in meters}
    assert not any(found.collides for found in outcome.found.values())


def test_meters_that_know_no_shortened_addresses_are_said() -> None:
    meters = [On(ITEM_METER, address, E2400, {"knows_masks": False}) for address in BOX[:3]]
    outcome = scanned(meters, tongues=["dlt645"], baud=2400, parity="E")
    assert outcome.found == {}
    assert "no-shortened-addresses" in outcome.remarks


def test_another_master_is_heard_before_we_ask() -> None:
    def gateway_runs(wires: Wires) -> None:
        wires.chatter(1001.0, N9600, [*frames_of(wires.drops)] * 20, 0.5)

    outcome = scanned(FLOOR[:9], before=gateway_runs, baud=9600, parity="N")
    assert isinstance(outcome.error, AnotherMaster)
    assert outcome.wires.asked == 0
    assert "another-master" in outcome.remarks


def test_another_master_is_noticed_while_we_ask() -> None:
    def gateway_starts(wires: Wires) -> None:
        wires.chatter(1010.0, N9600, [*frames_of(wires.drops)] * 40, 0.7)

    outcome = scanned(FLOOR[:9], before=gateway_starts, baud=9600, parity="N", tongues=["modbus"])
    assert isinstance(outcome.error, AnotherMaster)


def test_who_insists_scans_beside_another_master() -> None:
    def gateway_runs(wires: Wires) -> None:
        wires.chatter(1001.0, N9600, [*frames_of(wires.drops)] * 20, 1.7)

    outcome = scanned(FLOOR[:9], before=gateway_runs, baud=9600, parity="N", tongues=["modbus"], anyway=True)
    assert {str(n) for n in range(1, 10)} <= set(outcome.found)
    assert "another-master" in outcome.remarks


def test_somebody_at_another_speed_is_said_as_noise() -> None:
    def gateway_runs(wires: Wires) -> None:
        wires.chatter(1000.5, LineSettings(19200, "E"), [bytes.fromhex("01 03 00 00 00 02 c4 0b")], 1.0)

    outcome = scanned(FLOOR[:9], before=gateway_runs, baud=9600, parity="N", tongues=["modbus"])
    assert "noise" in outcome.remarks
    assert len(outcome.found) == 9


def test_a_noisy_line_hides_no_meter() -> None:
    dice = random.Random(7)

    def worn(wires: Wires) -> None:
        wires.noise = lambda byte: byte ^ (1 << dice.randrange(8)) if dice.random() < 0.02 else byte

    outcome = scanned(FLOOR[:16], before=worn, baud=9600, parity="N", tongues=["modbus"])
    assert set(outcome.found) == {on.address for on in FLOOR[:16]}


def test_a_type_nobody_described_is_not_named() -> None:
    pages = {name: page for name, page in SHIPPED.items() if name != "siemens-pac3200"}
    outcome = scanned(
        [On("siemens-pac3200", "126", N19200)], baud=19200, parity="N", tongues=["modbus"], profiles=pages
    )
    recognition = outcome.found["126"].recognition
    assert recognition is not None
    assert recognition.verdict in ("unknown", "possible"), recognition


def test_a_meter_that_keeps_silent_on_cells_it_has_not_got_is_found_with_patience() -> None:
    quiet = [On("carlo-gavazzi-em24", "3", N9600, {"silent_beyond": True}), On("wago-879-30xx", "4", N9600)]
    narrow: dict[str, Any] = {"baud": 9600, "parity": "N", "tongues": ["modbus"], "addresses": [1, 2, 3, 4]}
    outcome = scanned(quiet, **narrow, thorough=True)
    assert set(outcome.found) == {"3", "4"}
    assert outcome.progress[0].left_s == pytest.approx(outcome.took_s, rel=0.6)


def test_a_water_meter_alone_is_found_by_the_wildcard() -> None:
    outcome = scanned([On("cjt188-water", "00112233445566", E2400)], baud=2400, parity="E", tongues=["cjt188"])
    found = outcome.found["00112233445566"]
    assert found.recognition is not None
    assert (found.recognition.verdict, found.recognition.best and found.recognition.best.profile) == (
        "likely", "cjt188-water",
    )  # fmt: skip


def test_a_maker_who_turns_things_round_is_told_from_the_rest() -> None:
    outcome = scanned([On("cjt188-heat-unit-first", "00000040314132", E2400)], baud=2400, tongues=["cjt188"])
    recognition = outcome.found["00000040314132"].recognition
    assert recognition is not None
    assert recognition.best is not None
    assert recognition.best.profile == "cjt188-heat-unit-first"


def test_two_water_meters_cannot_be_told_apart_and_that_is_said() -> None:
    pair = [On("cjt188-water", f"0011223344556{n}", E2400, {"delay_s": 0.1 + 0.003 * n}) for n in (1, 2)]
    outcome = scanned(pair, baud=2400, parity="E", tongues=["cjt188"])
    assert outcome.found == {}
    assert "no-shortened-addresses" in outcome.remarks


def test_mbus_meters_are_found_where_asked_for() -> None:
    pair = [On("mbus-water", "5", E2400), On("mbus-heat", "77", E2400)]
    outcome = scanned(pair, baud=2400, parity="E", tongues=["mbus"])
    seen = {address: found.recognition for address, found in outcome.found.items()}
    assert {a: r.best.profile for a, r in seen.items() if r and r.best} == {"5": "mbus-water", "77": "mbus-heat"}
    assert outcome.took_s < 180


def test_the_old_edition_is_told_from_the_new_one() -> None:
    old = [On("dlt645-1997-three-phase", f"8013001307{n}", LineSettings(1200, "E")) for n in ("54", "61")]
    outcome = scanned([*old, On(ITEM_METER, BOX[0], E2400)], baud=1200, parity="E")
    assert set(outcome.found) == {"801300130754", "801300130761"}
    for found in outcome.found.values():
        assert found.tongue == "dlt645-1997"
        assert found.recognition is not None
        assert found.recognition.best is not None
        assert found.recognition.best.profile == "dlt645-1997-three-phase"


def test_meters_of_another_implementation_are_found() -> None:
    addresses = ["220641537708", "220641537799", "000000000161"]

    def add(wires: Wires) -> None:
        wires.drops += [PackageDrop(a, E2400, 0.03 + 0.02 * n) for n, a in enumerate(addresses)]

    outcome = scanned([], before=add, baud=2400, parity="E", tongues=["dlt645"], profiles={})
    assert set(outcome.found) == set(addresses)


SOCO = dict(enumerate((0x53, 0x4F, 0x43, 0x4F), start=0xC350))  # OpenEMS: vendor id, one character a word
VOLTS = {at + n: word for at in (0xC558, 0xC55A, 0xC55C) for n, word in enumerate((0, 23_050))}  # 230.50 V each


@pytest.mark.parametrize(("words", "marked"), [(SOCO | VOLTS, True), (VOLTS, False)])
def test_a_makers_mark_is_read(words: dict[int, int], marked: bool) -> None:
    def add(wires: Wires) -> None:
        wires.drops.append(WordsDrop(4, words, N9600))

    outcome = scanned([], before=add, baud=9600, parity="N", tongues=["modbus"], addresses=[3, 4, 5])
    recognition = outcome.found["4"].recognition
    assert recognition is not None
    best = [each for each in recognition.candidates if each.profile == "socomec-countis-e"]
    assert [each.marked for each in best] == ([True] if marked else [])
    if marked:
        assert ("mark", "vendor SOCO") in {(r.code, r.values.get("text")) for r in best[0].reasons}
        assert recognition.best is best[0]


def test_a_mark_of_another_maker_rules_a_page_out() -> None:
    words = SOCO | VOLTS | {0xC351: 0x55}

    def add(wires: Wires) -> None:
        wires.drops.append(WordsDrop(4, words, N9600))

    outcome = scanned([], before=add, baud=9600, parity="N", tongues=["modbus"], addresses=[4])
    recognition = outcome.found["4"].recognition
    assert recognition is not None
    assert "socomec-countis-e" not in {each.profile for each in recognition.candidates}


def test_a_sunspec_device_says_who_it_is() -> None:
    text = "Acme".ljust(32, "\0") + "M-203".ljust(32, "\0")
    words = {40_000: 0x5375, 40_001: 0x6E53, 40_002: 1, 40_003: 65}
    words |= {40_004 + n // 2: ord(text[n]) << 8 | ord(text[n + 1]) for n in range(0, 64, 2)}

    def add(wires: Wires) -> None:
        wires.drops.append(WordsDrop(9, words, N9600))

    outcome = scanned([], before=add, baud=9600, parity="N", tongues=["modbus"], addresses=[9])
    recognition = outcome.found["9"].recognition
    assert recognition is not None
    assert recognition.maker == "SunSpec Acme M-203"
    assert recognition.verdict != "certain"  # the mark alone proves no values


def test_a_speed_the_port_has_not_got_is_left_out_and_said() -> None:
    def old_server(wires: Wires) -> None:
        wires.not_possible = {E2400, LineSettings(115200, "N")}

    few = [On("eastron-sdm630", "3"), On(ITEM_METER, BOX[0], E2400)]
    outcome = scanned(few, before=old_server, addresses=[1, 2, 3])
    assert set(outcome.found) == {"3"}
    assert outcome.remarks == {"setting-refused"}
    assert {remark.values["at"] for remark in outcome.scan.remarks} == {"2400 8E1", "115200 8N1"}


def test_a_line_that_cannot_be_opened_at_all_ends_the_scan_soon() -> None:
    def unplugged(wires: Wires) -> None:
        wires.not_possible = {LineSettings(baud, parity) for baud in (1200, 2400, 4800, 9600) for parity in ("N", "E")}

    outcome = scanned([], before=unplugged, addresses=[1], within_s=60)
    assert isinstance(outcome.error, LineDown)
    assert outcome.wires.asked == 0
