"""DL/T 645 frames in words, for `collector.describe`."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from collector.decode_items import ItemDecoder
from collector.plan_items import ItemBlock, alone, item_plan
from collector.protocols.dlt645 import (
    FREEZE,
    FROM_METER,
    MORE,
    READ_ADDRESS,
    REFUSAL,
    SET_CLOCKS,
    Frame,
    frames_in,
    meaning,
    only_frames,
)
from meterline.measurands import MEASURANDS
from meterline.profiles import Dlt645Profile, Profile
from meterline.readings import Exchange, Number, exact
from meterline.texts import Language, Texts
from meterline.units import DISPLAY

SHOWN = 6
"""Values spelt out in one line; the rest is counted."""

_SAY = Texts(
    {
        "read": ("meter {address}: read {di}", "表 {address}：读 {di}"),
        "address": ("any meter: what is your address?", "读通信地址（任意表）"),
        "time": ("all meters: it is {data} (YYMMDDhhmmss)", "广播校时：{data}（YYMMDDhhmmss）"),
        "freeze": ("all meters: freeze at {data} (MMDDhhmm, 99 every)", "广播冻结：{data}（MMDDhhmm，99 为任意）"),
        "nobody": ("nobody answers a broadcast", "广播无应答"),
        "is": ("address {address}", "地址 {address}"),
        "refused": ("error {code}: {meaning}", "错误 {code}：{meaning}"),
        "data": ("data {data}", "数据 {data}"),
        "goes-on": ("goes on", "有后续帧"),
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
_MEANING_ZH = {
    0x01: "其他错误",
    0x02: "无请求数据",
    0x04: "密码错或未授权",
    0x08: "通信速率不能更改",
    0x10: "年时区数超",
    0x20: "日时段数超",
    0x40: "费率数超",
}


def speaks_dlt645(request: bytes) -> bool:
    """Whether a request is one of DL/T 645."""
    return _only_frame(request) is not None


def describe_frames(exchange: Exchange, profile: Profile | None, language: Language) -> tuple[str, str]:
    """The meaning of a request and of what came back; see `collector.describe.describe`."""
    request = _only_frame(exchange.request)
    assert request is not None
    page = profile if isinstance(profile, Dlt645Profile) else None
    if request.control in (SET_CLOCKS, FREEZE):
        said = "time" if request.control == SET_CLOCKS else "freeze"
        return _SAY(said, language, data=request.data[::-1].hex()), _SAY("nobody", language)
    if request.control == READ_ADDRESS:
        return _SAY("address", language), _answer(exchange, request, None, language)
    block = _block(page, _di(request)) if page else None
    asked = _SAY("read", language, address=request.address, di=_di(request))
    if block is not None and page is not None:
        asked += " (" + _some([item.point.measurand for item in block.items], language) + ")"
    return asked, _answer(exchange, request, block, language)


def _only_frame(raw: bytes) -> Frame | None:
    """The first frame, if the bytes are nothing but frames to a meter (several, where an answer went on)."""
    frames = [frame for _, _, frame in frames_in(raw)]
    return frames[0] if frames and only_frames(raw) and not frames[0].from_meter else None


def _di(frame: Frame) -> str:
    width = 2 if frame.control & 0x1F < 0x08 else 4
    return frame.data[:width][::-1].hex().upper()


def _block(page: Dlt645Profile, di: str) -> ItemBlock | None:
    """The points of the page that an identifier brings, by itself or as a block."""
    plan = item_plan(page)
    for block in plan.blocks:
        if block.di == di:
            return block
        for item in block.items:
            if item.point.di == di:
                return alone(item)
    return None


def _answer(exchange: Exchange, request: Frame, block: ItemBlock | None, language: Language) -> str:
    raw = exchange.response
    if not raw:
        return _SAY("line-down" if exchange.cause == "line-down" else "silent", language)
    width = len(_di(request)) // 2 if request.control != READ_ADDRESS else 0
    data, last = b"", None
    for _, _, frame in frames_in(raw):
        if not frame.from_meter or (frame.address != request.address and "AA" not in request.address):
            continue
        if frame.control & REFUSAL:
            code = frame.data[0] if frame.data else 0
            text = meaning(code)
            if language == "zh":
                text = "，".join(word for bit, word in _MEANING_ZH.items() if code & bit) or "?"
            return _SAY("refused", language, code=f"{code:02X}", meaning=text)
        if request.control == READ_ADDRESS and frame.control == READ_ADDRESS | FROM_METER:
            return _SAY("is", language, address=frame.address)
        if frame.data[:width] == request.data[:width]:
            data, last = data + frame.data[width:], frame
    if last is None:
        return _SAY("foreign" if only_frames(raw) else "checksum", language, count=len(raw))
    goes_on = f", {_SAY('goes-on', language)}" if last.control & MORE else ""
    if block is None:
        return _SAY("data", language, data=data.hex(" ")) + goes_on
    return _some(list(_values(block, data, language)), language) + goes_on


def _values(block: ItemBlock, data: bytes, language: Language) -> Iterator[str]:
    width = 1 + max(item.column for item in block.items)
    numbers: list[Number | None] = [None] * width
    ItemDecoder(block).into(data, numbers, [0] * width)
    for item in block.items:
        number, point = numbers[item.column], item.point
        if number is None:
            yield f"{point.measurand} {_SAY('absent', language)}"
            continue
        unit = MEASURANDS[point.measurand].unit
        value: Decimal = exact(number, point.exponent)
        yield f"{point.measurand} {value:f} {DISPLAY.get(unit, unit)}".rstrip()


def _some(texts: list[str], language: Language) -> str:
    rest = len(texts) - SHOWN
    return ", ".join(texts[:SHOWN]) + (f", {_SAY('more', language, count=rest)}" if rest > 0 else "")
