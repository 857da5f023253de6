"""Frames of a meter that is not ours, through everything that is: gateway, broker, head-end, store, page, mail.

The meters run on libmodbus, one on TCP and one on a serial line; the broker is mosquitto. While they are read, the
gateway and the broker are killed without warning: what the displays showed must be in the store all the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headend.queries import Queries
from headend.stores.api import Span
from meterline.clock import ScaledClock
from meterline.settings import load_headend
from tests.servers.broker import Mosquitto
from tests.servers.modbus import LibmodbusMeter, MeterFactory
from tests.servers.processes import free_port
from tests.servers.serial_lines import SerialLine
from tests.servers.smtp import ReceivedMail, SmtpSink
from tests.servers.waiting import wait_until
from tests.system.commands import Command, page, page_or_none, run, status

pytestmark = [pytest.mark.system, pytest.mark.needs_mosquitto, pytest.mark.needs_libmodbus, pytest.mark.timeout(150)]

FACTOR = 60.0  # a poll a minute is a poll a second: five silent minutes need not be sat out
EVER = Span(0, 2**62)

# Eastron SDM630 input words (volkszaehler/mbmd meters/rs485/sdm.go): where this test puts what it wants displayed.
VOLTAGES, CURRENTS, POWERS_W, POWER_W, IMPORT_KWH = (0, 2, 4), (6, 8, 10), (12, 14, 16), 0x0034, 0x0048
LAST_WORD = 0x0165

SITE = """
site:
  id: workshop
  name: {{en: "Workshop", zh: "车间"}}
  timezone: Asia/Shanghai
energy_users:
  - {{id: shop, name: {{en: "Shop", zh: "车间"}}, level: organisation}}
  - {{id: press, name: {{en: "Press", zh: "压力机"}}, level: equipment, parent: shop}}
buses:
  - {{id: lan, kind: modbus-tcp, gateway: gw-1, host: 127.0.0.1, port: {tcp_port}}}
  - {{id: line, kind: serial, gateway: gw-1, device: {device}, baud: 9600, parity: N}}
meters:
  - id: m-shop
    name: {{en: "Shop feeder", zh: "车间总表"}}
    energy_user: shop
    profile: eastron-sdm630
    bus: lan
    address: "1"
    rated: 100
  - id: m-press
    name: {{en: "Press", zh: "压力机"}}
    energy_user: press
    profile: eastron-sdm630
    bus: line
    address: "7"
    rated: 50
"""
GATEWAY = """
gateway: gw-1
broker: {{host: 127.0.0.1, port: {broker_port}}}
rates: {{fast_s: 60, normal_s: 60, slow_s: 900}}
commit_s: 0.2
health_s: 2
"""
HEADEND = """
broker: {{host: 127.0.0.1, port: {broker_port}}}
gateways:
  - {{id: gw-1, public_key: "{key}"}}
web: {{host: 127.0.0.1, port: {web_port}}}
mail: {{host: 127.0.0.1, port: {mail_port}, security: none, sender: meterline@plant.example}}
alerts:
  recipients: [{{address: fitter@plant.example, language: zh}}]
  digest_s: 0
jobs_s: 1
"""


def words(address: int, value: float) -> dict[int, int]:
    """One float32 as two words, high word first: what the SDM630's manual calls its standard order."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return {address: high, address + 1: low}


def display(unit: int, *, kwh: float, power_w: float) -> dict[int, dict[str, dict[int, int]]]:
    cells = words(POWER_W, power_w) | words(IMPORT_KWH, kwh)
    for addresses, value in ((VOLTAGES, 231.5), (CURRENTS, 20.0), (POWERS_W, power_w / 3)):
        for address in addresses:
            cells |= words(address, value)
    return {unit: {"input": cells}}


def new_meter(make: MeterFactory, unit: int, device: str | None = None) -> LibmodbusMeter:
    cells = {LAST_WORD: 0} | display(unit, kwh=1000.0, power_w=12_500.0)[unit]["input"]
    return make({unit: {"input": cells}}, device=device)


def text_of(mail: ReceivedMail) -> str:
    """Subject and plain text: two findings of one moment share a mail, and then the subject only counts them."""
    body = mail.message.get_body(preferencelist=("plain",))
    assert body is not None
    return f"{mail.message['Subject']}\n{body.get_content()}"


@dataclass
class Chain:
    """Everything that runs in this test."""

    folder: Path
    clock: str
    web_port: int
    broker: Mosquitto
    shop: LibmodbusMeter
    press: LibmodbusMeter
    mails: SmtpSink
    gateway: Command
    headend: Command

    def start_gateway(self) -> None:
        self.gateway = Command(
            self.folder / "gateway.log", "gateway", self.folder / "gateway.yaml", "--clock", self.clock
        )

    def stored(self, meter: str) -> list[float]:
        """Every import display in the store, in the order of reading."""
        queries = Queries.of(load_headend(self.folder / "headend.yaml"))
        try:
            series = queries.store.series(meter, "energy.active.import", EVER)
        finally:
            queries.close()
        return [float(value) for value in series.value[~np.isnan(series.value)]]

    def show(self, kwh: float) -> None:
        """Let both displays move on, and wait until both are stored (they are read once a second)."""
        self.shop.set(display(1, kwh=kwh, power_w=12_500.0))
        self.press.set(display(7, kwh=kwh, power_w=12_500.0))

    def wait_stored(self, kwh: float, within: float = 30.0) -> None:
        def there() -> bool:
            gone = not (self.gateway.running and self.headend.running)
            return gone or all(kwh in self.stored(meter) for meter in ("m-shop", "m-press"))

        wait_until(there, within=within, every=0.2, what=f"{kwh} kWh of both meters in the store")
        assert self.gateway.running, self.gateway.said[-3000:]
        assert self.headend.running, self.headend.said[-3000:]


@pytest.fixture
def chain(
    tmp_path: Path,
    mosquitto: Mosquitto,
    libmodbus_meter: MeterFactory,
    serial_line: SerialLine,
    smtp_sink: SmtpSink,
) -> Iterator[Chain]:
    folder = tmp_path / "site"
    folder.mkdir()
    shop = new_meter(libmodbus_meter, 1)
    press = new_meter(libmodbus_meter, 7, serial_line.server_path)
    web_port = free_port()
    (folder / "site.yaml").write_text(SITE.format(tcp_port=shop.port, device=serial_line.client_path), encoding="utf-8")
    (folder / "gateway.yaml").write_text(GATEWAY.format(broker_port=mosquitto.port), encoding="utf-8")
    key = run("gateway", folder / "gateway.yaml", "--show-key")
    assert key.returncode == 0, key.stderr
    (folder / "headend.yaml").write_text(
        HEADEND.format(broker_port=mosquitto.port, key=key.stdout.strip(), web_port=web_port, mail_port=smtp_sink.port),
        encoding="utf-8",
    )
    checked = run("check", folder)
    assert checked.returncode == 0, checked.stdout + checked.stderr

    clock = str(ScaledClock.starting_at(1_800_000_000 * 10**9, FACTOR))
    headend = Command(folder / "headend.log", "headend", folder / "headend.yaml", "--clock", clock)
    gateway = Command(folder / "gateway.log", "gateway", folder / "gateway.yaml", "--clock", clock)
    whole = Chain(folder, clock, web_port, mosquitto, shop, press, smtp_sink, gateway, headend)
    yield whole
    whole.gateway.clear_away()
    whole.headend.clear_away()


def gateway_state(chain: Chain) -> dict[str, Any]:
    state = status(chain.folder / "headend.yaml")
    assert state is not None
    answer: dict[str, Any] = state["gateways"]["gw-1"]
    return answer


def test_from_a_foreign_frame_to_page_and_mail_through_crashes(chain: Chain) -> None:
    wait_until(lambda: (chain.folder / "headend-data" / "catalogue.sqlite").exists(), within=30)
    chain.wait_stored(1000.0)
    chain.show(1000.5)
    chain.wait_stored(1000.5)
    chain.gateway.kill()
    chain.show(1001.25)
    chain.start_gateway()
    chain.wait_stored(1001.25)
    chain.broker.kill()
    chain.show(1002.0)  # read into the journal while there is no broker
    chain.show(1002.75)
    chain.broker.start()
    chain.wait_stored(1002.75)

    # What was displayed is stored, in order, and nothing else is; the quarter kWh steps are exact in float32.
    for meter in ("m-shop", "m-press"):
        stored = chain.stored(meter)
        assert set(stored) <= {1000.0, 1000.5, 1001.25, 1002.0, 1002.75}
        assert stored == sorted(stored)

    detail = wait_until(lambda: page_or_none(chain.web_port, "/api/meters/m-press"), what="the page's JSON")
    values = {value["measurand"]: value for value in detail["values"]}
    assert values["power.active.total"]["value"] == 12.5  # 12 500 W on the display
    assert values["power.active.total"]["unit"] == "kW"
    assert values["voltage.l1n"]["value"] == 231.5

    chain.shop.stop()  # the feeder's meter dies; its neighbour goes on
    mail = wait_until(
        lambda: next((m for m in chain.mails.mails if "电表无数据" in text_of(m)), None),
        within=40, every=0.1, what="a mail about the silent meter",
    )  # fmt: skip
    assert mail.recipients == ("fitter@plant.example",)
    assert "车间总表" in text_of(mail)

    def kinds(meter: str) -> set[str]:
        return {finding["kind"] for finding in page(chain.web_port, f"/api/findings?meter={meter}")}

    assert "gap" in kinds("m-shop")
    assert "gap" not in kinds("m-press")

    for command in (chain.gateway, chain.headend):
        command.interrupt()
        assert command.exit_code(within=20) == 0, command.said[-3000:]
        assert "Traceback" not in command.said
    state = gateway_state(chain)
    assert [ranges for ranges in state["holes"].values() if ranges] == []
    assert state["lost"] == []
