"""What a scan finds, and what it has to say about the line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collector.recognise import Recognition
from collector.scan_plan import Progress, Tongue
from meterline.errors import MeterlineError
from meterline.lines import LineSettings


class AnotherMaster(MeterlineError):
    """Somebody else asks questions on this line: stop them first (the gateway, another tool), then scan."""

    def __init__(self, heard: bytes) -> None:
        self.heard = heard
        super().__init__(f"another master is talking on this line: {heard[:16].hex(' ')}")


@dataclass
class Found:
    """A meter, or whatever answers at an address.

    Attributes
    ----------
    setting
        Speed and parity at which it answered; None where they are not ours to set.
    response_s
        From the question's last byte to the answer's last one.
    collides
        Answers come but cannot be read, every time: two meters on one address, or a bad line.
    every_unit
        It answers whatever unit is asked for: a meter's own network port.
    also_at
        Further settings at which the same address answers.
    """

    tongue: Tongue
    address: str
    setting: LineSettings | None
    response_s: float | None = None
    collides: bool = False
    every_unit: bool = False
    also_at: list[LineSettings] = field(default_factory=list)
    recognition: Recognition | None = None


@dataclass(frozen=True)
class Remark:
    """Something a person should know about the line.

    Attributes
    ----------
    code
        Stable word: ``noise``, ``another-master``, ``no-shortened-addresses``, ``setting-refused``.
    """

    code: str
    values: Mapping[str, str] = field(default_factory=dict)


Event = Found | Remark | Progress
