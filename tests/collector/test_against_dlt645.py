"""The DL/T 645 page against the ``dlt645`` package: its server answers for the items, its tables say where events are.

The package is another transcription of the standard's annex A. It knows no blocks, so items are asked one by one.
"""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from dlt645 import DLT645Protocol, MeterServerService
from dlt645.config.event_record_types import EVENT_RECORD_TYPES

from collector.dialects import Dlt645Dialect
from collector.plan_items import MeterItem, alone
from collector.protocols.dlt645 import Dlt645Question
from meterline.profiles import Dlt645Profile, ItemPoint
from meterline.readings import Number, Quality, exact
from tests.collector.sites import SHIPPED

PAGE = SHIPPED["dlt645-2007-three-phase"]
assert isinstance(PAGE, Dlt645Profile)
ADDRESS = "000012345678"
ITEMS = [point for point in PAGE.points if point.enabled and (point.di or "")[:2] in ("00", "02")]
COUNTS = [point for point in PAGE.points if point.enabled and point.record is not None]
TWELVE = "YYMMDDhhmmss"


@pytest.fixture(scope="module")
def service() -> MeterServerService:
    made = MeterServerService(None)
    made.address = bytearray(bytes.fromhex(ADDRESS)[::-1])
    return made


def asked(service: MeterServerService, point: ItemPoint) -> Decimal | None:
    """What our question brings from the package's server, by our decoder."""
    dialect = Dlt645Dialect(PAGE, ADDRESS)  # type: ignore[arg-type]
    block = alone(MeterItem(0, 0, point))
    question = Dlt645Question(dialect.request(block))
    frame = DLT645Protocol.deserialize(question.request)
    assert frame is not None
    payload = question.answer(bytearray(service.handle_request(frame)))
    assert payload is not None
    numbers: list[Number | None] = [None]
    qualities = [0]
    dialect.decoder(block, (point,)).into(payload, numbers, qualities)
    assert (numbers[0] is None) == bool(qualities[0] & (Quality.MISSING | Quality.INVALID))
    return None if numbers[0] is None else exact(numbers[0], point.exponent)


@pytest.mark.parametrize("point", ITEMS, ids=lambda point: point.measurand)
def test_an_item_shows_what_the_server_was_told(service: MeterServerService, point: ItemPoint) -> None:
    assert point.di is not None
    dice = random.Random(point.di)
    most = 10 ** (2 * point.length) * (8 if point.signed else 10) // 10 - 1
    for _ in range(5):
        number = dice.randint(-most if point.signed else 0, most)
        value = Decimal(number).scaleb(point.exponent)
        shows = service.set_00 if point.di.startswith("00") else service.set_02
        if not shows(int(point.di, 16), float(value)):
            continue  # beyond the package's own limits for this item
        assert asked(service, point) == value
        break
    else:
        raise AssertionError(f"{point.measurand}: the package takes no value for {point.di}")


def layout(di: str) -> list[tuple[str, str]]:
    """(Name, format) of the parts of an event's record, as the package has them."""
    return [(row["Name"], row["DataFormat"]) for row in EVENT_RECORD_TYPES if row["Di"] == di]


@pytest.mark.parametrize("point", COUNTS, ids=lambda point: point.measurand)
def test_an_event_is_where_the_package_has_it(point: ItemPoint) -> None:
    count = layout(point.di or point.block or "")
    assert count, "the package knows the count, too"
    item = point.item or 0
    name, form = count[item]
    assert "总次数" in name
    phase = point.measurand.rpartition(".l")[2]
    if phase in ("1", "2", "3"):
        assert name.startswith("ABC"[int(phase) - 1])
    parts = form.split(",")
    assert [len(part) // 2 for part in parts] == [point.length] + [point.bytes_each - point.length] * (len(parts) - 1)
    assert point.record is not None
    before = 0
    for _, form in layout(point.record):
        if form == TWELVE:
            assert before == point.record_at, "its begin is the first time in the record"
            return
        before += {"C0C1C2C3": 4}.get(form, len(form.replace(".", "")) // 2)
    raise AssertionError(f"{point.record} has no time")


def test_all_that_can_be_compared_is_compared() -> None:
    assert len(ITEMS) >= 20
    assert len(COUNTS) == 17
