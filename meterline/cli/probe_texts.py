"""What `probe` says; part of the catalogue in `meterline.cli.texts`."""

from __future__ import annotations

PROBE_TEXTS: dict[str, tuple[str, str]] = {
    "probe.cells": (
        "{meter} · {table} {at} ({decimal}) · {words} word(s) · {ms} ms",
        "{meter} · {table} {at}（{decimal}）· {words} 个字 · {ms} ms",
    ),
    "probe.item": ("{meter} · {di} · {bytes} byte(s) · {ms} ms", "{meter} · {di} · {bytes} 字节 · {ms} ms"),
    "probe.raw": ("raw  {raw}", "原始 {raw}"),
    "probe.refused_before": (
        "{table}: nothing there (error {code})", "{table}：此处无数据（错误 {code}）",
    ),
    "probe.fits": ("Can be meant:", "可能的含义："),
    "probe.fits_shown": ("Fits the display ({shown}):", "与显示值（{shown}）相符："),
    "probe.no_fit": (
        "Nothing here fits. Try the addresses beside it (a manual may count from 1), or the other table.",
        "没有相符的解释。请试相邻地址（说明书可能从 1 开始编号）或另一个表。",
    ),
    "probe.nothing_given": (
        "Say what the display shows (--shows 230.1) or what it should be (--as voltage.l1n), and the fitting one is named.",
        "如给出表计显示值（--shows 230.1）或被测量（--as voltage.l1n），即可指出相符的解释。",
    ),
    "probe.fit": ("  {type} {order}{scale} = {value} {unit} {what}", "  {type} {order}{scale} = {value} {unit} {what}"),
    "probe.line_for_profile": ("As a point of a profile:", "写成档案中的测点："),
    "probe.unknown_item": (
        "We have no source for this identifier. Its bytes could be:", "没有该标识的资料。这些字节可能是：",
    ),
    "probe.other_layout": (
        "The standard says {size} bytes an item here; {bytes} came. They could be:",
        "标准规定此处每项 {size} 字节，实际收到 {bytes} 字节。可能是：",
    ),
    "probe.no_digits": ("no digits", "非数字"),
    "probe.occurred": ("at {time}", "发生于 {time}"),
    "head.data_type": ("type", "类型"),
    "head.format": ("format", "格式"),
    "head.what": ("what", "含义"),
    "head.raw": ("raw", "原始"),
}  # fmt: skip
