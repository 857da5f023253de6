"""A number of a report, walked back to what its gateway signed."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from headend.catalogue import Catalogue
from headend.stores.embedded import EmbeddedReader
from headend.trace import Trace, trace
from meterline.plant import Plant
from meterline.readings import Quality
from tests.headend.seeded import NOW, Seeded, polls, seed
from tests.headend.small_plant import HOUR, MINUTE, small_plant

QUARTER = 15 * MINUTE
SENT = {(p.meter, p.slot_ns): p for p in polls(6)}
"""What the meters really displayed."""


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    seeded = seed(tmp_path_factory.mktemp("works"), hours=6)
    yield seeded
    seeded.close()


def walked(
    works: Seeded,
    meter: str,
    at_ns: int,
    *,
    plant: Plant | None = None,
    keys: dict[str, Ed25519PublicKey] | None = None,
    measurand: str | None = None,
) -> Trace | None:
    plant = plant or works.plant
    if keys is None:
        keys = {name: twin.public for name, twin in works.twins.items()}
    store, catalogue = EmbeddedReader(works.folder), Catalogue(works.folder, write=False)
    try:
        return trace(store, catalogue, plant, keys, plant.meters[meter], at_ns, measurand=measurand)
    finally:
        store.close()
        catalogue.close()


def test_an_interval_is_walked_back_to_four_signed_readings(works: Seeded) -> None:
    at = NOW - 2 * HOUR + 7 * MINUTE
    found = walked(works, "m-main", at)
    assert found is not None
    assert found.interval is not None
    assert (found.interval.start_ns, found.interval.end_ns) == (NOW - 2 * HOUR, NOW - 2 * HOUR + QUARTER)
    # read 120 ms after each full minute: the boundaries lie between the readings of 16:59/17:00 and 17:14/17:15
    slots = [origin.reading.slot_ns for origin in found.origins]
    assert slots == [NOW - 2 * HOUR + n * MINUTE for n in (-1, 0, 14, 15)]
    for origin in found.origins:
        assert origin.signature == "verified"
        assert origin.reading.number == SENT["m-main", origin.reading.slot_ns].numbers[0]
        assert origin.primary == origin.reading.value
        assert origin.poll.meter == "m-main"
        assert origin.batch.polls[origin.place] == origin.poll
    account = [Fraction(origin.reading.value or 0) for origin in found.origins]
    share = Fraction(MINUTE - 120_000_000, MINUTE)
    by_hand = (account[2] + (account[3] - account[2]) * share) - (account[0] + (account[1] - account[0]) * share)
    assert abs(found.interval.micro - by_hand * 10**6) <= 1


def test_a_gauge_is_its_nearest_reading_with_its_doubt(works: Seeded) -> None:
    found = walked(works, "m-c1", NOW - 3 * HOUR + 20 * 10**9, measurand="power.active.total")
    assert found is not None
    assert found.interval is None
    (origin,) = found.origins
    assert origin.reading.quality == Quality.SUSPECT
    assert origin.key[0] == "gw-2"
    assert origin.reading.value == Decimal(SENT["m-c1", NOW - 3 * HOUR].numbers[1] or 0).scaleb(-3)


def test_a_wrong_key_and_a_missing_one_are_said(works: Seeded) -> None:
    at = NOW - 2 * HOUR
    stranger = {"gw-1": Ed25519PrivateKey.generate().public_key()}
    for keys, verdict in ((stranger, "wrong"), ({}, "no key")):
        found = walked(works, "m-main", at, keys=keys)
        assert found is not None
        assert {origin.signature for origin in found.origins} == {verdict}


def test_where_nothing_is_there_is_nothing(works: Seeded) -> None:
    assert walked(works, "m-p3", NOW + 300 * HOUR) is None
    assert walked(works, "m-c2", NOW, measurand="voltage.l1n") is None


def test_the_ratio_in_force_is_named(tmp_path: Path) -> None:
    """The profile of another make, whose display is secondary: 200/5 until noon of the day before, then 400/5."""
    site = small_plant().site
    ratios = ({"valid_from": "2026-01-01", "ct": "200/5"}, {"valid_from": "2026-03-02", "ct": "400/5"})
    body = site.model_dump(mode="json", by_alias=True)
    for meter in body["meters"]:
        if meter["id"] == "m-main":
            meter |= {"profile": "acrel-dtsd1352", "ratios": list(ratios)}
    plant = Plant(type(site).model_validate(body, strict=False), small_plant().profiles)
    seeded = seed(tmp_path, hours=2, plant=plant)
    try:
        found = walked(seeded, "m-main", NOW - HOUR, plant=plant)
        assert found is not None
        origin = found.origins[0]
        assert origin.ratio is not None
        assert origin.ratio.ct == "400/5"
        assert origin.primary == 80 * (origin.reading.value or 0)
    finally:
        seeded.close()
