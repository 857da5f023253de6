"""CJ/T 188 and M-Bus frames in words, for `collector.describe`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

from collector.decode_fields import FieldDecoder
from collector.decode_records import RecordDecoder
from collector.plan_answer import field_plan, record_plan
from collector.protocols import cjt188, mbus
from collector.requests import Plan
from meterline.errors import FrameError, Refused
from meterline.measurands import MEASURANDS
from meterline.profiles import Cjt188Profile, MbusProfile, Profile
from meterline.readings import Exchange, Number, exact
from meterline.texts import Language, Texts
from meterline.units import DISPLAY

SHOWN = 6
"""Values spelt out in one line; the rest is counted."""

_SAY = Texts(
    {
        "cjt188": ("meter {address}, type {type}: read {di}", "表 {address}（类型 {type}）：读 {di}"),
        "cjt188.address": ("any meter: what is your address?", "读通信地址（任意表）"),
        "mbus": ("M-Bus meter {address}: what are your data?", "M-Bus 表 {address}：读数据"),
        "refused": ("refused: {meaning}", "拒绝：{meaning}"),
        "unreadable": ("an answer that cannot be read: {reason}", "无法解析的应答：{reason}"),
        "data": ("data {data}", "数据 {data}"),
        "silent": ("no answer", "无应答"),
        "line-down": ("the line is down", "线路中断"),
        "foreign": ("{count} bytes that answer something else", "收到 {count} 字节，不是对此请求的应答"),
        "checksum": (
            "{count} bytes, but no valid frame: checksum or length wrong",
            "收到 {count} 字节，但校验或长度错误",
        ),
        "more": ("and {count} more", "等另外 {count} 项"),
        "absent": ("none", "无效"),
    }
)  # fmt: skip
AnyQuestion = cjt188.Cjt188Question | cjt188.AddressQuestion | mbus.MbusQuestion


def speaks_of_whole(request: bytes) -> bool:
    """Whether a request is one of CJ/T 188 or M-Bus."""
    return _question(request) is not None


def describe_whole(exchange: Exchange, profile: Profile | None, language: Language) -> tuple[str, str]:
    """The meaning of a request and of what came back; see `collector.describe.describe`."""
    found = _question(exchange.request)
    assert found is not None
    question, asked = found
    return _SAY(asked[0], language, **asked[1]), _answer(exchange, question, profile, language)


def _question(request: bytes) -> tuple[AnyQuestion, tuple[str, dict[str, Any]]] | None:
    """The question whose request these bytes are, and how to say it."""
    short = request[-5:]
    if len(request) % 5 == 0 and short[:1] == b"\x10" and short[1] in mbus.REQUESTS and 1 <= short[2] <= 250:
        question = mbus.MbusQuestion(mbus.AskForData(short[2]), cycle(mbus.REQUESTS))
        return (
            (question, ("mbus", {"address": short[2]})) if short[3:] == bytes((sum(short[1:3]) & 0xFF, 0x16)) else None
        )
    frames = [frame for _, _, frame in cjt188.frames_in(request)]
    if len(frames) != 1 or not cjt188.only_frames(request) or frames[0].from_meter or len(frames[0].data) != 3:
        return None
    type_, address, control, data = frames[0]
    if control == cjt188.READ_ADDRESS:
        return cjt188.AddressQuestion(type_), ("cjt188.address", {})
    if control != cjt188.READ:
        return None
    order: cjt188.DiOrder = "high-first" if data[0] == 0x90 else "low-first"
    di = (data[:2] if order == "high-first" else data[1::-1]).hex().upper()
    question_ = cjt188.Cjt188Question(cjt188.ReadData(type_, address, di, data[2], order))
    return question_, ("cjt188", {"address": address, "type": f"{type_:02X}", "di": di})


def _answer(exchange: Exchange, question: AnyQuestion, profile: Profile | None, language: Language) -> str:
    received = bytearray(exchange.response)
    if not received:
        return _SAY("line-down" if exchange.cause == "line-down" else "silent", language)
    try:
        payload = question.answer(received)
    except Refused as refused:
        return _SAY("refused", language, meaning=str(refused))
    except FrameError as error:
        return _SAY("unreadable", language, reason=str(error))
    if payload is None:
        return _SAY("foreign" if question.foreign(received) else "checksum", language, count=len(received))
    values = list(_values(payload, question, profile, language))
    if not values:
        return _SAY("data", language, data=payload.hex(" "))
    rest = len(values) - SHOWN
    return ", ".join(values[:SHOWN]) + (f", {_SAY('more', language, count=rest)}" if rest > 0 else "")


def _values(payload: bytes, question: AnyQuestion, profile: Profile | None, language: Language) -> Iterator[str]:
    plan: Plan[Any, Any]
    if isinstance(profile, Cjt188Profile) and isinstance(question, cjt188.Cjt188Question):
        plan = field_plan(profile)
        decoder: FieldDecoder | RecordDecoder = FieldDecoder(
            plan.blocks[0], unit_first=profile.limits.unit_position == "before"
        )
    elif isinstance(profile, MbusProfile) and isinstance(question, mbus.MbusQuestion):
        plan = record_plan(profile)
        decoder = RecordDecoder(plan.blocks[0])
    else:
        return
    numbers: list[Number | None] = [None] * len(plan.points)
    decoder.into(payload, numbers, [0] * len(plan.points))
    for number, point in zip(numbers, plan.points, strict=True):
        if number is None:
            yield f"{point.measurand} {_SAY('absent', language)}"
            continue
        unit = MEASURANDS[point.measurand].unit
        yield f"{point.measurand} {exact(number, point.exponent).normalize():f} {DISPLAY.get(unit, unit)}".rstrip()
