"""One DL/T 645 item, taken apart by what the standard says of its identifier, or by every format it could have.

References
----------
DL/T 645-2007, annex A (identifiers, lengths, formats); DL/T 645-1997, annex A.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from collector.protocols.dlt645 import digits


@dataclass(frozen=True, slots=True)
class ItemFormat:
    """How an item of some identifiers stands in its bytes.

    Attributes
    ----------
    size, length
        Bytes of one item, and of the number in it (the rest is a time). [bytes]
    """

    size: int
    length: int
    decimals: int
    unit: str
    name: str
    signed: bool = False


_FORMATS: tuple[tuple[str, ItemFormat], ...] = (
    (r"0000....", ItemFormat(4, 4, 2, "kWh", "combined active energy", True)),
    (r"00(01|15|29|3D)....", ItemFormat(4, 4, 2, "kWh", "forward active energy")),
    (r"0002....", ItemFormat(4, 4, 2, "kWh", "reverse active energy")),
    (r"000[34]....", ItemFormat(4, 4, 2, "kvarh", "combined reactive energy", True)),
    (r"000[5-8]....", ItemFormat(4, 4, 2, "kvarh", "reactive energy of a quadrant")),
    (r"00(09|0A)....", ItemFormat(4, 4, 2, "kVAh", "apparent energy")),
    (r"01......", ItemFormat(8, 3, 4, "kW/kvar", "maximum demand")),
    (r"0201....", ItemFormat(2, 2, 1, "V", "voltage")),
    (r"0202....", ItemFormat(3, 3, 3, "A", "current", True)),
    (r"0203....", ItemFormat(3, 3, 4, "kW", "active power", True)),
    (r"0204....", ItemFormat(3, 3, 4, "kvar", "reactive power", True)),
    (r"0205....", ItemFormat(3, 3, 4, "kVA", "apparent power", True)),
    (r"0206....", ItemFormat(2, 2, 3, "", "power factor", True)),
    (r"0207....", ItemFormat(2, 2, 1, "°", "phase angle")),
    (r"020[89AB]....", ItemFormat(2, 2, 2, "%", "distortion")),
    (r"02800001", ItemFormat(3, 3, 3, "A", "neutral current", True)),
    (r"02800002", ItemFormat(2, 2, 2, "Hz", "frequency")),
    (r"0280000[3-6]", ItemFormat(3, 3, 4, "kW", "demand")),
    (r"02800007", ItemFormat(2, 2, 1, "°C", "temperature in the meter", True)),
    (r"0280000[89]", ItemFormat(2, 2, 2, "V", "battery")),
    (r"0400040[12]", ItemFormat(6, 6, 0, "", "number")),
    (r"04000101", ItemFormat(4, 4, 0, "", "date YYMMDDWW")),
    (r"04000102", ItemFormat(3, 3, 0, "", "time hhmmss")),
    (r"033.....", ItemFormat(3, 3, 0, "", "count of events")),
    (r"0506(01|02)..", ItemFormat(4, 4, 2, "kWh", "daily freeze")),
    (r"(90|91).[0-9A-F]", ItemFormat(4, 4, 2, "kWh/kvarh", "energy")),
    (r"B61.", ItemFormat(2, 2, 0, "V", "voltage")),
    (r"B62.", ItemFormat(2, 2, 2, "A", "current")),
    (r"B63.", ItemFormat(3, 3, 4, "kW", "active power")),
    (r"B64.", ItemFormat(2, 2, 2, "kvar", "reactive power")),
    (r"B65.", ItemFormat(2, 2, 3, "", "power factor")),
    (r"C032", ItemFormat(6, 6, 0, "", "number")),
)
"""Identifier -> format; the first that fits."""
MOST_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class ItemValue:
    """One number of an answer.

    Attributes
    ----------
    raw
        Its bytes as they came, low byte first.
    value
        None where they are no digits.
    time
        YYMMDDhhmm behind a maximum demand; empty if none.
    """

    raw: bytes
    value: Decimal | None
    unit: str
    name: str
    time: str = ""


def format_of(di: str) -> ItemFormat | None:
    """What the standard says of an identifier; None for one we have no source for."""
    return next((form for pattern, form in _FORMATS if re.fullmatch(pattern, di)), None)


def item_values(di: str, data: bytes) -> list[ItemValue]:
    """The numbers of an answer by the standard's format; empty where the length is no multiple of it."""
    form = format_of(di)
    if form is None or not data or len(data) % form.size:
        return []
    found = []
    for at in range(0, len(data), form.size):
        item = data[at : at + form.size]
        number = digits(item[: form.length], signed=form.signed)
        value = None if number is None else Decimal(number).scaleb(-form.decimals)
        time = item[form.length :][::-1].hex() if form.size > form.length else ""
        found.append(ItemValue(item, value, form.unit, form.name, time))
    return found


def item_guesses(data: bytes) -> list[tuple[str, str]]:
    """Every way the bytes of an unknown identifier could be read: (format, text)."""
    found = []
    plain, signed = digits(data), digits(data, signed=True)
    if plain is not None:
        width = 2 * len(data)
        for decimals in range(MOST_DECIMALS + 1):
            if decimals < width:
                form = "X" * (width - decimals) + ("." + "X" * decimals if decimals else "")
                found.append((form, f"{Decimal(plain).scaleb(-decimals):f}"))
    elif signed is not None:
        found.append(("digits with a sign", str(signed)))
    text = data[::-1].decode("ascii", "replace").strip("\0 ")
    if text and all(32 <= ord(sign) < 127 for sign in text):
        found.append(("text", text))
    found.append(("bits", " ".join(f"{byte:08b}" for byte in reversed(data))))
    return found
