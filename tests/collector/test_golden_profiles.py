"""Every shipped profile against words and values that others made: the page and the decoder agree with the world."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.bus import Question
from collector.decode import BlockDecoder
from collector.dialects import dialect_of, plan_of
from collector.plan import request_plan
from collector.protocols.cjt188 import Cjt188Question, ReadData
from collector.protocols.dlt645 import Dlt645Question, ReadItem
from collector.protocols.mbus import REQUESTS, AskForData, MbusQuestion
from collector.requests import Plan
from meterline.profiles import ModbusProfile, Profile, load_profile
from meterline.readings import Number, exact
from tests.collector.sites import SHIPPED

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "profiles"


def golden(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text(encoding="utf-8"))
    return data


def answered(profile: Profile, address: str, frames: list[str]) -> dict[str, Decimal | None]:
    """What a meter that sent these frames shows; points whose request no frame answers are left out.

    Each request of the page's plan is asked; one that no frame answers is asked part by part.
    """
    dialect = dialect_of(profile, address)
    plan = dialect.plan()
    numbers: list[Number | None] = [None] * len(plan.points)
    came: set[int] = set()
    for whole in plan.blocks:
        for block in (whole, *(dialect.parts(whole) or ((),))[0]):
            payload = next(
                filter(None, (question_like(dialect.request(block), frame).answer(bytearray(frame)) for frame in
                              map(bytes.fromhex, frames))), None
            )  # fmt: skip
            if payload is not None:
                dialect.decoder(block, plan.points).into(payload, numbers, [0] * len(numbers))
                came |= {item.column for item in block.items}
                if block is whole:
                    break
    return {
        point.measurand: None if numbers[column] is None else exact(numbers[column] or 0, point_exponent(plan, column))
        for column, point in enumerate(plan.points)
        if column in came
    }


def point_exponent(plan: Plan[Any, Any], column: int) -> int:
    return plan.shape.columns[column].exponent


def question_like(request: object, frame: bytes) -> Question:
    """The question whose answer a frame may be: captured ones bring the serial number that was asked with."""
    if isinstance(request, ReadItem):
        return Dlt645Question(request)
    if isinstance(request, ReadData):
        return Cjt188Question(replace(request, serial=frame.lstrip(b"\xfe")[13]))
    assert isinstance(request, AskForData)
    return MbusQuestion(replace(request, is_first=False), cycle(REQUESTS))


def shown(profile: Profile, words: dict[str, dict[int, list[int]]]) -> dict[str, Decimal | None]:
    """What a meter holding these words shows, by our plan and our decoder; other words hold a marker."""
    memory = {(t, at + n): w for t, cells in words.items() for at, ws in cells.items() for n, w in enumerate(ws)}
    assert isinstance(profile, ModbusProfile)
    plan = request_plan(profile)
    numbers: list[Number | None] = [None] * len(plan.points)
    for block in plan.blocks:
        payload = b"".join(
            memory.get((block.table.value, block.address + n), 0).to_bytes(2, "big") for n in range(block.count)
        )
        BlockDecoder(block, plan.points).into(payload, numbers, [0] * len(numbers))
    return {
        point.measurand: None if number is None else exact(number, point.exponent)
        for point, number in zip(plan.points, numbers, strict=True)
    }


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_profile_shows_what_its_golden_file_says(name: str) -> None:
    assert (GOLDEN / f"{name}.yaml").is_file(), f"{name} ships without a golden file"
    document = golden(name)
    assert document["profile"] == name
    proven: set[str] = set()
    for case in document["cases"]:
        assert case["source"].startswith(("published", "captured", "derived-with")), "who says so?"
        if "frames" in case:
            values = answered(SHIPPED[name], case["address"], case["frames"])
        else:
            values = shown(SHIPPED[name], case["words"])
        for measurand, text in case["shows"].items():
            want = None if text is None else Decimal(text)
            assert values[measurand] == want, f"{name}: {measurand}"
        proven |= set(case["shows"])
    enabled = {point.measurand for point in SHIPPED[name].points if point.enabled}
    assert proven == enabled, "every enabled point needs a golden value"


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(SHIPPED)
    assert len(SHIPPED) >= 9


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_page_names_its_source_and_can_be_asked(name: str, request: pytest.FixtureRequest) -> None:
    page = load_profile(request.config.rootpath / "config" / "profiles" / f"{name}.yaml")
    assert len(page.source) > 20
    assert plan_of(page).blocks
    if page.evidence == "unverified":
        assert not any(p.enabled and p.kind == "counter" for p in page.points), "no account rests on a guess"


def test_the_import_of_a_two_tariff_meter_is_both_tariffs() -> None:
    """PAC3200: tariff 1 alone loses the off-peak energy (facts/meters/siemens_pac3200_pac2200.yaml)."""
    case = golden("siemens-pac3200")["cases"][0]
    one = dict(case["words"]["holding"])
    one[0x0325] = [0, 0, 0, 0]
    assert shown(SHIPPED["siemens-pac3200"], {"holding": one})["energy.active.import"] == Decimal("123456.7895")
