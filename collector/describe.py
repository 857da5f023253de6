"""What passed on a line, in words: for ``monitor`` and for whoever walks a number back to its frames."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from collector.decode import decode_item
from collector.describe_answer import describe_whole, speaks_of_whole
from collector.describe_dlt645 import describe_frames, speaks_dlt645
from collector.plan import Item, request_plan
from collector.protocols.modbus import MEANING, TABLE, Read, RtuQuestion, TcpQuestion, crc16
from meterline.errors import FrameError, Refused
from meterline.measurands import MEASURANDS
from meterline.profiles import ModbusProfile, Profile
from meterline.readings import Exchange, exact
from meterline.texts import Language, Texts
from meterline.units import DISPLAY

SHOWN = 6
"""Values spelt out in one line; the rest is counted."""

_SAY = Texts(
    {
        "read": (
            "unit {unit}, function {function}: {count} words of {table} from {address}",
            "地址 {unit}，功能码 {function}：读 {table} {address} 起 {count} 个字",
        ),
        "table.input": ("the input table", "输入寄存器"),
        "table.holding": ("the holding table", "保持寄存器"),
        "more": ("and {count} more", "等另外 {count} 项"),
        "words": ("words {words}", "字 {words}"),
        "refused": ("error {code}: {meaning}", "异常码 {code}：{meaning}"),
        "silent": ("no answer", "无应答"),
        "checksum": (
            "{count} bytes, but no valid frame: checksum or length wrong",
            "收到 {count} 字节，但校验或长度错误",
        ),
        "foreign": ("{count} bytes that answer something else", "收到 {count} 字节，不是对此请求的应答"),
        "late": (
            "{count} bytes nobody asked for (a late answer, or another master)",
            "收到 {count} 字节无人请求的数据（迟到应答或另有主站）",
        ),
        "line-down": ("the line is down", "线路中断"),
        "unknown": ("a frame of no known kind", "无法识别的帧"),
        "absent": ("none", "无效"),
    }
)  # fmt: skip
_MEANING_ZH = {
    0x01: "不支持的功能码",
    0x02: "非法数据地址",
    0x03: "非法数据值",
    0x04: "从站设备故障",
    0x05: "已确认，处理中",
    0x06: "从站忙",
    0x08: "存储奇偶校验错误",
    0x0A: "网关路径不可用",
    0x0B: "网关后的仪表无应答",
}


def describe(
    kind: str, exchange: Exchange, profile: Profile | None = None, language: Language = "en"
) -> tuple[str, str]:
    """The meaning of a request and of what came back.

    Parameters
    ----------
    kind
        The bus's kind: ``modbus-tcp``, ``rtu-over-tcp`` or ``serial``.
    profile
        The meter's page; with it, points and values are named.

    Returns
    -------
    asked, answered
        One line each; `asked` is empty where nothing was sent.
    """
    if not exchange.request:
        key = exchange.cause if exchange.cause in _SAY else "late"
        return "", _SAY(key, language, **({"count": len(exchange.response)} if key == "late" else {}))
    if kind != "modbus-tcp" and speaks_dlt645(exchange.request):
        return describe_frames(exchange, profile, language)
    if kind != "modbus-tcp" and speaks_of_whole(exchange.request):
        return describe_whole(exchange, profile, language)
    read = parse_request(kind, exchange.request)
    if read is None:
        return _SAY("unknown", language), exchange.response.hex(" ")
    page = profile if isinstance(profile, ModbusProfile) else None
    items = _items(page, read) if page else []
    asked = _SAY(
        "read",
        language,
        unit=read.unit,
        function=f"{exchange.request[7 if kind == 'modbus-tcp' else 1]:02X}",
        count=read.count,
        table=_SAY(f"table.{read.table.value}", language),
        address=f"{read.address:#06x}",
    )
    if items and page:
        points = request_plan(page).points
        asked += " (" + _some([points[item.column].measurand for item in items], language) + ")"
    return asked, _answer(kind, exchange, read, page, items, language)


def parse_request(kind: str, request: bytes) -> Read | None:
    """A read request as it stands on the wire; None if it is no such frame."""
    if kind == "modbus-tcp":
        if len(request) != 12:
            return None
        body = request[6:]
    elif len(request) == 8 and not crc16(request):
        body = request[:6]
    else:
        return None
    table = TABLE.get(body[1])
    count = int.from_bytes(body[4:6], "big")
    address = int.from_bytes(body[2:4], "big")
    if table is None or not 1 <= count <= 125 or address + count > 0x10000:
        return None
    return Read(body[0], table, address, count)


def _answer(
    kind: str, exchange: Exchange, read: Read, profile: ModbusProfile | None, items: list[Item], language: Language
) -> str:
    raw = exchange.response
    if not raw:
        return _SAY("line-down" if exchange.cause == "line-down" else "silent", language)
    tag = int.from_bytes(exchange.request[:2], "big")
    question = TcpQuestion(read, tag) if kind == "modbus-tcp" else RtuQuestion(read)
    received = bytearray(raw)
    try:
        words = question.answer(received)
    except Refused as refused:
        meaning = _MEANING_ZH.get(refused.code, "?") if language == "zh" else MEANING.get(refused.code, "?")
        return _SAY("refused", language, code=f"{refused.code:02X}", meaning=meaning)
    except FrameError:
        words = None
    if words is None:
        foreign = question.foreign(received)
        return _SAY("foreign" if foreign else "checksum", language, count=len(raw))
    if not items or profile is None:
        return _SAY("words", language, words=words.hex(" ", 2))
    return _some(_values(profile, read, items, words, language), language)


def _values(profile: ModbusProfile, read: Read, items: list[Item], words: bytes, language: Language) -> Iterable[str]:
    points = request_plan(profile).points
    for item in items:
        point = points[item.column]
        number = decode_item(item, point, words[2 * (item.start - read.address) : 2 * (item.end - read.address)])
        if number is None:
            yield f"{point.measurand} {_SAY('absent', language)}"
            continue
        unit = MEASURANDS[point.measurand].unit
        value: Decimal = exact(number, point.exponent)
        yield f"{point.measurand} {value:f} {DISPLAY.get(unit, unit)}".rstrip()


def _items(profile: ModbusProfile, read: Read) -> list[Item]:
    """The points of the page that lie wholly inside a request, by address."""
    inside = [
        item
        for block in request_plan(profile).blocks
        for item in block.items
        if item.table == read.table and read.address <= item.start and item.end <= read.address + read.count
    ]
    return sorted(inside, key=lambda item: item.start)


def _some(texts: Iterable[str], language: Language) -> str:
    shown = list(texts)
    rest = len(shown) - SHOWN
    return ", ".join(shown[:SHOWN]) + (f", {_SAY('more', language, count=rest)}" if rest > 0 else "")
