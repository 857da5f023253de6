"""A segment gives back exactly what was put in, or says what is missing; whatever happens to its bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway_firmware_py.segments import HEADER, MAGIC, PAGE, pack, padding_after, scan

PAYLOADS = st.lists(
    st.binary(min_size=1, max_size=80) | st.just(MAGIC + b"x" * 60) | st.just(bytes(70)), min_size=1, max_size=8
)


def build(payloads: list[bytes]) -> tuple[bytes, list[int]]:
    data, ends = b"", []
    for seq, payload in enumerate(payloads, 1):
        data += pack(seq, bytes([seq]) * 32, payload)
        ends.append(len(data))
    return data, ends


def assert_true(data: bytes, payloads: list[bytes]) -> set[int]:
    """Whatever is found is what was written; returns which numbers were found."""
    found = scan(data)
    for record in found.records:
        assert data[record.start : record.end] == payloads[record.seq - 1]
        assert record.digest == bytes([record.seq]) * 32
    numbers = [record.seq for record in found.records]
    assert len(set(numbers)) == len(numbers)
    return set(numbers)


@given(PAYLOADS)
def test_whole_segments_are_read_whole(payloads: list[bytes]) -> None:
    data, _ = build(payloads)
    found = scan(data)
    assert [r.seq for r in found.records] == list(range(1, len(payloads) + 1))
    assert (found.damaged, found.good_end, found.torn) == ([], len(data), False)


@given(PAYLOADS, st.data())
def test_a_cut_anywhere_is_a_torn_end_and_costs_only_the_cut_record(payloads: list[bytes], draw: st.DataObject) -> None:
    data, ends = build(payloads)
    cut = draw.draw(st.integers(0, len(data)))
    found = scan(data[:cut])
    whole = sum(end <= cut for end in ends)
    assert assert_true(data[:cut], payloads) == set(range(1, whole + 1))
    assert found.damaged == []
    assert found.torn == (cut not in [0, *ends])


@given(PAYLOADS, st.integers(0, 200), st.data())
def test_zeros_behind_a_cut_are_a_torn_end_too(payloads: list[bytes], zeros: int, draw: st.DataObject) -> None:
    data, ends = build(payloads)
    cut = draw.draw(st.integers(0, len(data) - 1))
    numbers = assert_true(data[:cut] + bytes(zeros), payloads)
    whole = sum(end <= cut for end in ends)
    assert set(range(1, whole + 1)) <= numbers  # a payload that ends in zeros may be whole again


@given(st.lists(st.binary(min_size=1, max_size=80).filter(lambda p: p[-1] != 0), min_size=1, max_size=8), st.data())
def test_a_flipped_bit_costs_one_record_and_is_never_taken_for_a_power_cut(
    payloads: list[bytes], draw: st.DataObject
) -> None:
    # A batch message never ends in a zero byte: its zstd frame ends in JSON's brace or in the entropy coder's end mark.
    data, ends = build(payloads)
    place = draw.draw(st.integers(0, len(data) - 1))
    bad = bytearray(data)
    bad[place] ^= 1 << draw.draw(st.integers(0, 7))
    hurt = 1 + sum(end <= place for end in ends)
    found = scan(bytes(bad))
    assert assert_true(bytes(bad), payloads) == set(range(1, len(payloads) + 1)) - {hurt}
    assert not found.torn
    assert found.damaged
    assert all(a <= place < b for a, b in found.damaged)


@given(PAYLOADS, st.binary(max_size=60), st.data())
def test_bytes_slipped_in_are_named_and_hide_nothing_behind_them(
    payloads: list[bytes], noise: bytes, draw: st.DataObject
) -> None:
    data, ends = build(payloads)
    place = draw.draw(st.sampled_from([0, *ends]))
    spoiled = data[:place] + noise + data[place:]
    assert assert_true(spoiled, payloads) == set(range(1, len(payloads) + 1))


@given(st.binary(max_size=400))
def test_garbage_holds_nothing(data: bytes) -> None:
    assert scan(data).records == []


def test_a_record_costs_so_many_bytes_beside_its_payload() -> None:
    assert len(pack(1, bytes(32), b"")) == HEADER == 56


@given(
    st.lists(st.lists(st.binary(min_size=20, max_size=3000), min_size=1, max_size=4), min_size=1, max_size=12),
    st.data(),
)
def test_commits_padded_to_pages_are_read_whole_and_a_cut_costs_only_what_was_cut(
    commits: list[list[bytes]], draw: st.DataObject
) -> None:
    data, ends, seq = b"", [], 0
    for payloads in commits:
        group = b""
        for payload in payloads:
            seq += 1
            group += pack(seq, bytes(32), payload)
            ends.append(len(data) + len(group))
        data += group + bytes(padding_after(len(data) + len(group), len(group)))
    found = scan(data)
    assert [r.end for r in found.records] == ends
    assert (found.damaged, found.torn, found.good_end) == ([], False, len(data))
    cut = draw.draw(st.integers(0, len(data)))
    part = scan(data[:cut])
    assert [r.end for r in part.records] == [end for end in ends if end <= cut]
    assert part.damaged == []


def test_padding_saves_a_second_write_of_the_page_and_never_costs_more_than_what_it_follows() -> None:
    for size in range(60, 9000, 7):
        room = padding_after(12_288 + size, size)
        assert room in (0, -size % PAGE)
        assert room < size
    assert padding_after(3000, 3000) == 1096
    assert padding_after(300, 300) == 0
    assert padding_after(4096, 4096) == 0
