"""`verify` finds every change, deletion, insertion and swap, and says where: number, file and byte."""

from __future__ import annotations

import ast
import shutil
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_firmware_py import segments as segment_files
from gateway_firmware_py.keeper import Draft
from gateway_firmware_py.state import State
from headend.stores.api import Span
from meterline import verify as verify_package
from meterline.clock import ManualClock
from meterline.verify import NothingToProve, kind_of, verify
from meterline.wire import Batch, LostRange, digest_of, seal, unseal
from tests.gateway.polls import T0_NS, poll
from tests.meterline.proofs import (
    BATCHES,
    KEY,
    KEYS,
    MINUTE,
    OTHER,
    checked,
    days,
    epoch_of,
    evidence,
    flip,
    journal,
    keeper_in,
    kinds,
    of_kind,
    public,
    segments,
    sql,
    store,
)

ALL = BATCHES + 2
"""With the two batches that state the hours that ended."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    journal(folder / "gateway")
    store(folder / "headend", folder / "gateway")
    evidence(folder / "march.mlev", folder / "headend")
    return folder


@pytest.fixture
def here(originals: Path, tmp_path: Path) -> Path:
    shutil.copytree(originals, tmp_path / "copy")
    return tmp_path / "copy"


def records(path: Path) -> list[segment_files.Record]:
    return segment_files.scan(path.read_bytes()).records


def forged(seq: int, epoch: str, prev: bytes, number: int = 4711, *, signed_with: object = OTHER) -> bytes:
    batch = Batch("gw1", epoch, seq, prev, T0_NS + 77 * MINUTE, False, (poll(number, slot_ns=T0_NS + 77 * MINUTE),))
    return seal(batch, signed_with).message  # type: ignore[arg-type]


def test_nothing_of_the_ordinary_code_is_used() -> None:
    """`lint-imports` cannot see inside one package; of `meterline` only the software identification is used."""
    sources = sorted(Path(verify_package.__file__ or "").parent.glob("*.py"))
    assert len(sources) >= 7
    allowed = ("meterline.verify", "meterline.software")
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert all(name.startswith(allowed) for name in names if name.startswith("meterline")), source


# --- what is in order -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "kind"), [("gateway", "journal"), ("headend", "store"), ("march.mlev", "evidence")])
def test_what_nobody_touched_is_proven(here: Path, what: str, kind: str) -> None:
    report = checked(here / what)
    assert report.flaws == []
    assert report.fine
    assert (report.kind, report.batches, report.proven) == (kind, ALL, ALL)
    (epoch,) = report.epochs
    assert (epoch.gateway, epoch.count, epoch.ranges) == ("gw1", ALL, [(1, ALL)])
    assert report.hours == 2
    assert report.made_by == ["meterline test"]
    assert report.software.startswith("meterline ")
    if kind == "store":
        assert report.rows == 2 * BATCHES


def test_the_parts_of_a_folder_can_be_given_alone(here: Path) -> None:
    assert kind_of(here / "gateway" / "journal") == "journal"
    assert kind_of(here / "headend" / "hot") == "store"
    assert checked(here / "gateway" / "journal").fine
    assert checked(here / "headend" / "hot").fine


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing")
    for path in (tmp_path, tmp_path / "a.txt", tmp_path / "not-there"):
        with pytest.raises(NothingToProve):
            verify(path, KEYS)


def test_a_wrong_key_proves_nothing(here: Path) -> None:
    for what in ("gateway", "headend", "march.mlev"):
        report = verify(here / what, {"gw1": (public(OTHER), "test")})
        assert not report.fine
        assert report.proven == 0
        assert {flaw.first for flaw in of_kind(report, "changed")} == set(range(1, ALL + 1))
        assert kinds(verify(here / what, {"gw2": KEYS["gw1"]})) == {"unknown-key"}


# --- a journal --------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bit_of_a_segment(originals: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("bit")
    shutil.copytree(originals / "gateway", folder / "gateway")
    path = data.draw(st.sampled_from(segments(folder / "gateway")))
    at = data.draw(st.integers(0, path.stat().st_size - 1))
    hits = [record for record in records(path) if record.offset <= at < record.end]
    flip(path, at, data.draw(st.integers(0, 7)))
    report = checked(folder / "gateway")
    (flaw, *_) = [f for f in report.flaws if f.kind in ("damaged", "cut")]
    assert flaw.file.endswith(path.name)
    assert (flaw.gateway, flaw.epoch) == ("gw1", epoch_of(folder / "gateway"))
    if hits:
        assert flaw.offset == hits[0].offset
        assert hits[0].seq in {number for f in report.flaws for number in range(f.first, f.last + 1)}
    else:  # the zeros that fill a page
        assert flaw.offset is not None
        assert flaw.offset <= at
        assert report.proven == ALL
    shutil.rmtree(folder)


def test_a_payload_changed_with_its_check_sums_made_right(here: Path) -> None:
    path = segments(here / "gateway")[0]
    record = records(path)[3]
    data = bytearray(path.read_bytes())
    message = bytearray(data[record.start : record.end])
    message[100] ^= 1
    data[record.offset : record.end] = segment_files.pack(record.seq, record.digest, bytes(message))
    path.write_bytes(data)
    report = checked(here / "gateway")
    (flaw,) = of_kind(report, "changed")
    assert (flaw.offset, flaw.file) == (record.start, f"journal/{epoch_of(here / 'gateway')}/{path.name}")
    assert report.proven == ALL - 1


def test_a_record_cut_out_of_a_segment(here: Path) -> None:
    path = segments(here / "gateway")[0]
    gone = records(path)[5]
    data = path.read_bytes()
    path.write_bytes(data[: gone.offset] + data[gone.end :])
    (path.with_name(path.name + ".index")).unlink(missing_ok=True)
    report = checked(here / "gateway")
    (flaw,) = report.flaws
    assert (flaw.kind, flaw.gateway, flaw.first, flaw.last) == ("absent", "gw1", gone.seq, gone.seq)
    assert f"after {gone.seq - 1} in journal/" in flaw.detail
    assert f"byte {records(path)[4].start}" in flaw.detail


def test_a_batch_slipped_in_under_a_number_in_use(here: Path) -> None:
    path = segments(here / "gateway")[0]
    victim = records(path)[4]
    data = path.read_bytes()
    forgery = forged(victim.seq, epoch_of(here / "gateway"), unseal(data[victim.start : victim.end]).prev)
    packed = segment_files.pack(victim.seq, digest_of(forgery), forgery)
    path.write_bytes(data[: victim.offset] + packed + data[victim.end :])
    flaws = checked(here / "gateway").flaws
    assert [(f.kind, f.first, f.offset) for f in flaws if f.kind != "index"] == [
        ("changed", victim.seq, victim.offset + segment_files.HEADER)
    ]


def test_a_gateway_that_signs_two_pasts_is_caught(here: Path) -> None:
    """Whoever has the key can sign anything; the chain still tells that the past was exchanged."""
    path = segments(here / "gateway")[0]
    victim = records(path)[4]
    data = path.read_bytes()
    prev = unseal(data[victim.start : victim.end]).prev
    forgery = forged(victim.seq, epoch_of(here / "gateway"), prev, signed_with=KEY)
    packed = segment_files.pack(victim.seq, digest_of(forgery), forgery)
    path.write_bytes(data[: victim.offset] + packed + data[victim.end :])
    report = checked(here / "gateway")
    (chain,) = of_kind(report, "chain")
    assert chain.first == victim.seq + 1
    assert of_kind(report, "hour")[0].first == 1
    path.write_bytes(data + packed)
    assert [f.first for f in of_kind(checked(here / "gateway"), "twice")] == [victim.seq]


def test_two_records_swapped(here: Path) -> None:
    path = segments(here / "gateway")[0]
    data = path.read_bytes()
    one, two = records(path)[3:5]
    swapped = segment_files.pack(one.seq, one.digest, data[two.start : two.end])
    swapped += segment_files.pack(two.seq, two.digest, data[one.start : one.end])
    path.write_bytes(data[: one.offset] + swapped + data[two.end :])
    report = checked(here / "gateway")
    assert kinds(report) >= {"misplaced"}
    assert {flaw.first for flaw in of_kind(report, "misplaced")} == {one.seq, two.seq}


def test_a_tail_cut_within_a_record_and_between_two(here: Path) -> None:
    path = max(segments(here / "gateway"), key=lambda p: records(p)[-1].seq)
    last = records(path)[-1]
    data = path.read_bytes()
    path.write_bytes(data[: last.end - 3])
    report = checked(here / "gateway")
    assert [(f.kind, f.first, f.offset) for f in of_kind(report, "cut")] == [("cut", ALL, last.offset)]
    path.write_bytes(data[: last.offset])
    (tail,) = of_kind(checked(here / "gateway"), "tail")
    assert (tail.gateway, tail.first, tail.last) == ("gw1", ALL, ALL)
    assert "state.db" in tail.detail


def test_a_whole_segment_removed(here: Path) -> None:
    path = next(p for p in segments(here / "gateway") if p.name.endswith("-fast.seg"))
    gone = {record.seq for record in records(path)}
    path.unlink()
    report = checked(here / "gateway")
    named = {number for f in of_kind(report, "absent") for number in range(f.first, f.last + 1)}
    assert named == gone - {ALL}


def test_what_the_gateway_pruned_in_order_is_no_flaw(here: Path) -> None:
    path = next(p for p in segments(here / "gateway") if p.name.endswith("-fast.seg"))
    gone = {record.seq for record in records(path)}
    path.unlink()
    (path.with_name(path.name + ".index")).unlink(missing_ok=True)
    epoch = epoch_of(here / "gateway")
    sql(here / "gateway" / "state.db", f"INSERT INTO acked VALUES ('{epoch}', 1, {ALL})")
    report = checked(here / "gateway")
    assert report.flaws == []
    (found,) = report.epochs
    assert {n for a, b in found.given_up for n in range(a, b + 1)} == gone


def test_numbers_declared_lost_are_no_flaw(tmp_path: Path) -> None:
    state = State()
    keeper = keeper_in(tmp_path, ManualClock(T0_NS), state, segment_bytes=200)
    for n in range(1, 6):
        keeper.keep([Draft((poll(n),))])
    state.lose(LostRange(keeper.epoch, 2, 2, "bitrot"))
    keeper.keep([Draft((poll(9),))])
    path = next(p for p in segments(tmp_path) if records(p)[0].seq == 2)
    path.unlink()
    report = checked(tmp_path)
    assert kinds(report) <= {"index"}
    assert report.epochs[0].lost == [(2, 2, "bitrot")]


def test_a_card_of_another_epoch_and_an_index_of_another_segment(here: Path) -> None:
    epoch = here / "gateway" / "journal" / epoch_of(here / "gateway")
    (epoch / "epoch.json").write_text("{}")
    (segments(here / "gateway")[0].with_suffix(".seg.index")).write_text("[]")
    assert {(f.kind, Path(f.file).name) for f in checked(here / "gateway").flaws} == {
        ("damaged", "epoch.json"),
        ("index", segments(here / "gateway")[0].name + ".index"),
    }


# --- a store ----------------------------------------------------------------------------------------------------------


def test_a_bit_of_a_stored_message(here: Path) -> None:
    (path,) = days(here / "headend")
    changed = "CAST(substr(message, 1, 80) || x'00' || substr(message, 82) AS BLOB)"
    sql(path, f"UPDATE batches SET message = {changed} WHERE seq = 9")
    (flaw,) = of_kind(checked(here / "headend"), "changed")
    assert (flaw.gateway, flaw.first, flaw.file) == ("gw1", 9, f"hot/{path.name}")
    assert flaw.place.startswith("batches row")
    assert flaw.offset is not None
    assert path.read_bytes()[flaw.offset : flaw.offset + 4] == b"ML\x01\x00"


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE polls SET numbers = replace(numbers, '[20,', '[21,') WHERE numbers LIKE '[20,%'", "the row says [21,"),
        ("UPDATE polls SET t = t + 1000000 WHERE numbers LIKE '[20,%'", "another meter, time or meaning"),
        ("UPDATE polls SET qualities = '[4,0,0]' WHERE numbers LIKE '[20,%'", "doubt"),
        ("DELETE FROM polls WHERE numbers LIKE '[20,%'", "1 rows of readings where the batch holds 2"),
        ("UPDATE columns SET exponent = -1 WHERE place = 0", "another meter, time or meaning"),
        ("UPDATE meters SET name = 'm9' WHERE name = 'm1'", "another meter, time or meaning"),
        ("DELETE FROM missing", "silences"),
    ],
)
def test_a_reading_that_is_not_what_its_batch_says(here: Path, statement: str, words: str) -> None:
    (path,) = days(here / "headend")
    sql(path, statement)
    report = checked(here / "headend")
    assert kinds(report) == {"readings"}
    assert words in report.flaws[0].detail
    assert report.flaws[0].first > 0
    assert report.proven == ALL, "the evidence itself is as it was"


def test_a_batch_deleted_from_a_store(here: Path) -> None:
    (path,) = days(here / "headend")
    sql(path, "DELETE FROM polls WHERE batch IN (SELECT id FROM batches WHERE seq IN (40, 41))",
        "DELETE FROM batches WHERE seq IN (40, 41)")  # fmt: skip
    (flaw,) = checked(here / "headend").flaws
    assert (flaw.kind, flaw.first, flaw.last, flaw.file) == ("absent", 40, 41, f"hot/{path.name}")
    assert "deleted" in flaw.detail
    sql(path, "DELETE FROM received", "INSERT INTO received SELECT gateway, epoch, 1, 39 FROM batches LIMIT 1")
    (flaw,) = checked(here / "headend").flaws
    assert (flaw.kind, flaw.first, flaw.last) == ("absent", 40, 41)


def test_the_newest_batches_deleted_from_a_store(here: Path) -> None:
    (path,) = days(here / "headend")
    sql(path, f"DELETE FROM polls WHERE batch IN (SELECT id FROM batches WHERE seq > {ALL - 3})",
        f"DELETE FROM batches WHERE seq > {ALL - 3}")  # fmt: skip
    (flaw,) = checked(here / "headend").flaws
    assert (flaw.kind, flaw.first, flaw.last) == ("absent", ALL - 2, ALL)


def test_batches_swapped_and_slipped_in(here: Path) -> None:
    (path,) = days(here / "headend")
    sql(path, "UPDATE batches SET seq = -1 WHERE seq = 7", "UPDATE batches SET seq = 7 WHERE seq = 8",
        "UPDATE batches SET seq = 8 WHERE seq = -1")  # fmt: skip
    assert {f.first for f in of_kind(checked(here / "headend"), "misplaced")} == {7, 8}
    epoch = epoch_of(here / "gateway")
    forgery = forged(ALL + 1, epoch, bytes(32))
    sql(
        path,
        f"INSERT INTO batches VALUES (9999, 'gw1', '{epoch}', {ALL + 1}, 0, 0, x'{bytes(32).hex()}',"
        f" x'{digest_of(forgery).hex()}', x'{forgery.hex()}')",
    )
    (flaw,) = of_kind(checked(here / "headend"), "changed")
    assert (flaw.first, flaw.place) == (ALL + 1, "batches row 9999")


def test_a_day_file_that_is_no_database_any_more(here: Path) -> None:
    (path,) = days(here / "headend")
    flip(path, 3)
    report = checked(here / "headend")
    assert [(f.kind, f.file) for f in report.flaws] == [("damaged", f"hot/{path.name}")]
    assert not report.fine


# --- an evidence file -------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bit_of_an_evidence_file(
    originals: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("bit") / "march.mlev"
    shutil.copy(originals / "march.mlev", path)
    at = data.draw(st.integers(0, path.stat().st_size - 1))
    header_end = 8 + int.from_bytes(path.read_bytes()[4:8], "big")
    flip(path, at, data.draw(st.integers(0, 7)))
    if at >= header_end:  # the header is only what the file says of itself
        report = checked(path)
        assert not report.fine
        assert any(f.offset is not None and f.offset <= at for f in report.flaws)
    elif path.read_bytes()[:4] == b"MLE1":
        assert checked(path).proven == ALL
    else:
        with pytest.raises(NothingToProve):
            checked(path)


def test_an_evidence_file_cut_short(here: Path) -> None:
    path = here / "march.mlev"
    data = path.read_bytes()
    path.write_bytes(data[:-41])
    (flaw,) = checked(path).flaws
    assert (flaw.kind, flaw.place, flaw.offset) == ("cut", "end mark", len(data) - 41)
    path.write_bytes(data[:-60])
    (flaw,) = checked(path).flaws
    assert (flaw.kind, flaw.place) == ("cut", f"entry {ALL}")


def test_entries_taken_out_doubled_and_swapped(here: Path) -> None:
    path = here / "march.mlev"
    data = path.read_bytes()
    at = 8 + int.from_bytes(data[4:8], "big")
    entries = []
    while data[at : at + 1] == b"B":
        end = at + 9 + int.from_bytes(data[at + 1 : at + 5], "big")
        entries.append(data[at:end])
        at = end
    head, end_mark = data[: 8 + int.from_bytes(data[4:8], "big")], data[at:]

    def write(*kept: bytes) -> None:
        path.write_bytes(head + b"".join(kept) + end_mark)

    write(*entries[:10], *entries[11:])
    assert [(f.kind, f.first) for f in checked(path).flaws if f.kind == "absent"] == [("absent", 11)]
    assert "index" in kinds(checked(path)), "the end mark knows how many there were"
    write(entries[1], entries[0], *entries[2:])
    assert kinds(checked(path)) == {"index"}, "the order in a file means nothing, its end mark does"
    other = forged(11, epoch_of(here / "gateway"), bytes(32))
    write(
        *entries[:10],
        b"B" + len(other).to_bytes(4, "big") + zlib.crc32(other).to_bytes(4, "big") + other,
        *entries[11:],
    )
    assert [(f.kind, f.first) for f in checked(path).flaws if f.gateway] == [("changed", 11)]


def test_a_part_taken_out_of_a_store_is_proven_as_a_part(here: Path) -> None:
    span = Span(T0_NS + 30 * MINUTE, T0_NS + 90 * MINUTE)
    report = checked(evidence(here / "hour.mlev", here / "headend", span))
    assert report.fine
    (epoch,) = report.epochs
    assert epoch.ranges == [(31, 91)]


def test_an_evidence_file_in_zstd_frames(here: Path) -> None:
    data = (here / "march.mlev").read_bytes()
    third = len(data) // 3
    parts = [data[:third], data[third : 2 * third], data[2 * third :]]
    frames = [zstandard.ZstdCompressor(write_checksum=True).compress(part) for part in parts]
    path = here / "march.mlev.zst"
    path.write_bytes(b"".join(frames))
    assert checked(path).fine
    flip(path, len(frames[0]) + len(frames[1]) // 2)
    report = checked(path)
    assert of_kind(report, "damaged")[0].offset == len(frames[0])
    assert 0 < report.proven < ALL


# --- a witness --------------------------------------------------------------------------------------------------------


def test_a_witness_knows_a_past_that_was_exchanged_or_cut_off(here: Path, tmp_path: Path) -> None:
    (epoch,) = checked(here / "gateway").epochs
    witness = {(epoch.gateway, epoch.epoch): (epoch.head_seq, epoch.head)}
    assert verify(here / "headend", KEYS, witness).fine
    (path,) = days(here / "headend")
    sql(path, f"DELETE FROM polls WHERE batch IN (SELECT id FROM batches WHERE seq = {ALL})",
        f"DELETE FROM batches WHERE seq = {ALL}", f"UPDATE received SET last = {ALL - 1}")  # fmt: skip
    assert checked(here / "headend").fine, "nothing in the files can tell"
    (flaw,) = verify(here / "headend", KEYS, witness).flaws
    assert (flaw.kind, flaw.first) == ("history", ALL)
    assert kinds(verify(here / "gateway", KEYS, {(epoch.gateway, epoch.epoch): (10, "00" * 32)})) == {"history"}
