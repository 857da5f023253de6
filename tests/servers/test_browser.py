"""The browser fixture sees what scripts did to a page, and takes a picture of it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from tests.servers.browser import Chromium

pytestmark = [pytest.mark.needs_chromium, pytest.mark.slow]

PAGE = """<!doctype html><meta charset=utf-8><body style="margin:0;background:#fff"><p id=load>…</p>
<script>setTimeout(() => { document.getElementById("load").textContent = "负荷 27.5 kW";
document.body.style.background = "#c00000" }, 800)</script>"""


def pixel(png: Path, x: int, y: int) -> tuple[int, ...]:
    """Read one pixel; enough of PNG for that (8-bit RGB or RGBA, no interlace)."""
    data = png.read_bytes()
    width, _height, depth, colour = struct.unpack(">IIBB", data[16:26])
    assert depth == 8
    assert colour in (2, 6)
    size = 4 if colour == 6 else 3
    at, packed = 8, b""
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += length + 12
    raw, stride = zlib.decompress(packed), width * size
    previous = bytearray(stride)
    for row in range(y + 1):
        kind, line = raw[row * (stride + 1)], bytearray(raw[row * (stride + 1) + 1 : (row + 1) * (stride + 1)])
        for i in range(stride):
            left, up = line[i - size] if i >= size else 0, previous[i]
            corner = previous[i - size] if i >= size else 0
            estimate = left + up - corner
            paeth = min((left, up, corner), key=lambda c: abs(estimate - c))
            line[i] = (line[i] + (0, left, up, (left + up) // 2, paeth)[kind]) & 0xFF
        previous = line
    return tuple(previous[x * size : x * size + 3])


def test_scripts_have_run_in_the_dom_and_on_the_picture(chromium: Chromium, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE, encoding="utf-8")
    assert '<p id="load">负荷 27.5 kW</p>' in chromium.dump_dom(page.as_uri(), page_ms=2000)
    picture = chromium.screenshot(page.as_uri(), width=320, height=200, page_ms=2000)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert pixel(picture, 300, 150) == (0xC0, 0, 0)
