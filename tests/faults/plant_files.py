"""The plant of a fault run: three meters, two lines, one gateway, one head-end, in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

METERS = ("m-main", "m-press", "m-line")
GATEWAY = "gw-1"
RATIOS = {"m-main": 1, "m-press": 40, "m-line": 1}
"""Primary over displayed; the site file says the same. [1]"""

_SITE = """
site:
  id: fault-run
  name: {{en: "Fault run", zh: "故障试验"}}
  timezone: Asia/Shanghai
energy_users:
  - {{id: shop, name: {{en: "Shop", zh: "车间"}}, level: organisation}}
  - {{id: press, name: {{en: "Press", zh: "压力机"}}, level: equipment, parent: shop}}
  - {{id: office, name: {{en: "Office", zh: "办公室"}}, level: equipment, parent: shop}}
buses:
  - {{id: lan, kind: modbus-tcp, gateway: gw-1, host: 127.0.0.1, port: {bus_port}, timeout_s: {timeout_s}}}
  - {{id: line, kind: serial, gateway: gw-1, device: "{device}", baud: 38400, timeout_s: {timeout_s}}}
meters:
  - id: m-main
    name: {{en: "Incomer", zh: "进线总表"}}
    energy_user: shop
    profile: siemens-pac3200
    bus: lan
    address: "1"
    rated: 200
  - id: m-press
    name: {{en: "Press", zh: "压力机"}}
    energy_user: press
    profile: acrel-dtsd1352
    bus: lan
    address: "2"
    fed_by: m-main
    rated: 90
    ratios: [{{valid_from: 2024-03-01, ct: "200/5"}}]
  - id: m-line
    name: {{en: "Office", zh: "办公室"}}
    energy_user: office
    profile: eastron-sdm120
    bus: line
    address: "7"
    fed_by: m-main
    rated: 20
"""
_GATEWAY = """
gateway: gw-1
broker: {{host: 127.0.0.1, port: {broker_port}{login}}}
rates: {{fast_s: {period_s}, normal_s: {period_s}, slow_s: {slow_s}}}
commit_s: {commit_s}
health_s: 2
journal: {{quota_mb: {quota_mb}}}
"""
_HEADEND = """
broker: {{host: 127.0.0.1, port: {broker_port}{login}}}
gateways:
  - {{id: gw-1, public_key_file: gateway-data/gateway.pub}}
web: {{host: 127.0.0.1, port: {web_port}}}
jobs_s: 1
"""


@dataclass(frozen=True)
class Wish:
    """What a scene wants to be different about its plant.

    Attributes
    ----------
    factor
        Plant seconds in a real one; 1 with `real_clock`.
    period_s
        How often each meter is read. [plant s]
    """

    factor: float = 60.0
    period_s: float = 60.0
    commit_s: float = 0.2
    quota_mb: int = 64
    timeout_s: float = 0.25
    """How long an answer of a meter is waited for. [real s]"""
    broker: str = ""
    faults: tuple[str, ...] = ()
    """Lines of ``factory.yaml``'s list of faults."""
    hooks: tuple[str, ...] = ()
    """``gateway@TARGET`` and ``headend@TARGET``: switches of `hooked_process`."""
    constants: dict[str, object] = field(default_factory=dict)
    """``module:NAME`` -> value: pauses that would outlast a test are shortened; the page of the fault says so."""
    real_clock: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    data_mb: int = 0
    """The gateway's folder is a file system of its own of so many megabytes (needs root); 0: a folder. [MB]"""
    options: tuple[str, ...] = ()
    """Of the gateway's command line."""
    judge_slots: bool = True
    """False where the plant's clock is so fast that a moment's load of this machine is hours of the plant: then only
    numbers, values and chain are judged, and not whether a line kept its slots and a reading's time fits its value."""


def write_plant(folder: Path, wish: Wish, *, bus_port: int, gateway_broker: int, headend_broker: int, web: int) -> None:
    """Write the four files."""
    (folder / "site.yaml").write_text(
        _SITE.format(bus_port=bus_port, device=folder / "line.tty", timeout_s=wish.timeout_s), encoding="utf-8"
    )
    write_gateway(folder, wish, gateway_broker)
    (folder / "headend.yaml").write_text(
        _HEADEND.format(broker_port=headend_broker, web_port=web, login=""), encoding="utf-8"
    )
    faults = "".join(f"\n  - {{{row}}}" for row in wish.faults)
    (folder / "factory.yaml").write_text(f"seed: 11\nturnaround_ms: 1\nfaults:{faults or ' []'}\n", encoding="utf-8")


def write_gateway(folder: Path, wish: Wish, broker_port: int, login: str = "") -> None:
    """Write, or write anew, the gateway's own file."""
    (folder / "gateway.yaml").write_text(
        _GATEWAY.format(
            broker_port=broker_port, period_s=wish.period_s, slow_s=max(900, wish.period_s),
            commit_s=wish.commit_s, quota_mb=wish.quota_mb, login=login,
        ),
        encoding="utf-8",
    )  # fmt: skip
