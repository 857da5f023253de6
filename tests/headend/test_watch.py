"""Troubles of the delivery reach a person once, in his language, with what to do; their end, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest

from headend.alerts.outbox import Outbox
from headend.catalogue import Catalogue, catalogue_path
from headend.stores.memory import MemoryStore
from headend.watch import AGAIN_S, EVERY_S, HOLD_S, Watch
from meterline.clock import NS, ManualClock
from meterline.settings import HeadendFile, HeadendSettings
from meterline.wire import Health, LostRange
from tests.headend.gateway_twin import T0, Twin, block_of
from tests.headend.small_plant import small_plant

ALL = {"address": "all@works.example", "name": "", "language": "en", "severity": "warning"}
GRAVE = {"address": "zh@works.example", "name": "", "language": "zh", "severity": "alarm"}
SHOP = {"address": "shop@works.example", "name": "", "language": "en", "severity": "info", "energy_users": ("press",)}


class Site(ManualClock):
    """A head-end's catalogue, store and outbox, with a real clock that the test moves."""

    simulated = False

    def __init__(self, folder: Path, *recipients: Mapping[str, object]) -> None:
        super().__init__(T0)
        document = {
            "gateways": ({"id": "gw-1", "public_key": "abc"},),
            "mail": {"host": "mail.example", "sender": "meterline@works.example"},
            "alerts": {"recipients": recipients},
        }
        self.settings = HeadendSettings(HeadendFile.model_validate(document, strict=False), folder, small_plant())
        self.store, self.catalogue = MemoryStore(), Catalogue(folder)
        self.outbox = Outbox(catalogue_path(folder))
        self.restart()

    def restart(self) -> None:
        self.watch = Watch(self.settings, self.store, self.catalogue, self.outbox, self, self)

    def look(self, after_s: float = EVERY_S) -> int:
        self.advance(after_s)
        return self.watch.once(self.t_ns)

    def says(self, *troubles: str, skew_s: float = 0.0, state: str = "running") -> None:
        at_ns = self.t_ns + round(skew_s * NS)
        self.catalogue.put_health(Health("gw-1", "0" * 16, state, at_ns, troubles=troubles), self.t_ns)

    def mails(self, address: str = "all@works.example") -> list[EmailMessage]:
        rows = self.outbox.tables.rows("SELECT message FROM outbox WHERE recipient = ? ORDER BY id", address)
        return [message_from_bytes(bytes(row[0]), policy=default) for row in rows]

    def subjects(self, address: str = "all@works.example") -> list[str]:
        return [str(make_header(decode_header(str(mail["Subject"])))) for mail in self.mails(address)]

    def close(self) -> None:
        self.outbox.close()
        self.catalogue.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, ALL, GRAVE, SHOP)
    yield made
    made.close()


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def test_nothing_wrong_is_no_mail(site: Site) -> None:
    site.says()
    for _ in range(20):
        assert site.look() == 0


def test_a_forgery_is_an_alarm_in_every_language_and_not_told_for_each_message(site: Site) -> None:
    for n in range(50):
        site.catalogue.quarantine(T0, "ml1/up/gw-1/batch", "signature", "was not made by this key", b"%d" % n)
        site.look()
    assert site.subjects() == ["[ALARM] Jinan works: messages were refused (signature)"]
    assert site.subjects("zh@works.example") == ["[报警] 济南工厂：有报文被拒收（signature）"]
    assert site.subjects("shop@works.example") == [], "a shop's supervisor can do nothing about it"
    assert "headend.yaml" in text_of(site.mails()[0])
    site.look(AGAIN_S)
    assert "49 message(s)" in text_of(site.mails()[1]), "an hour later the rest, in one"
    for _ in range(10):
        site.look(AGAIN_S)
    assert len(site.mails()) == 2


def test_lost_data_and_broken_chains_are_told_with_their_gateway(site: Site) -> None:
    twin = Twin()
    lost = [LostRange(twin.epoch, 5, 9, "quota"), LostRange(twin.epoch, 20, 29, "resealed")]
    site.store.append([block_of(twin.seal(at_ns=T0, lost=lost))])
    site.look()
    assert site.subjects() == ["[WARNING] Jinan works: data of gw-1 are lost (quota)"]
    assert "5 batch(es)" in text_of(site.mails()[0])
    site.catalogue.put_chain_break("gw-1", twin.epoch, 7, b"a", b"b", T0)
    site.look()
    assert site.subjects()[-1] == "[ALARM] Jinan works: data do not follow from what came before"
    assert "meterline verify" in text_of(site.mails()[-1])


def test_a_trouble_that_lasts_is_told_once_and_its_end_once(site: Site) -> None:
    for _ in range(20):
        site.says("journal: No space left on device")
        site.look()
    assert site.subjects() == ["[WARNING] Jinan works: gateway gw-1: journal: No space left on device"]
    for _ in range(20):
        site.says()
        site.look()
    assert site.subjects()[1:] == ["[OVER] Jinan works: gateway gw-1: journal: No space left on device"]
    assert len(site.mails("zh@works.example")) == 0, "only alarms for this one"


def test_a_trouble_that_comes_and_goes_is_none(site: Site) -> None:
    for n in range(60):
        site.says(*["disk-slow: a commit took 2.0 s"] * (n % 2))
        site.look()
    assert len(site.mails()) <= 1


def test_a_gateway_that_is_away_says_nothing_new(site: Site) -> None:
    for _ in range(20):
        site.says("journal: No space left on device", state="gone")
        site.look()
    assert site.mails() == []


def test_a_wrong_clock_is_told(site: Site) -> None:
    for _ in range(int(HOLD_S / EVERY_S) + 2):
        site.says(skew_s=3600.0)
        site.look()
    assert site.subjects() == ["[WARNING] Jinan works: the clock of gateway gw-1 is wrong"]
    assert "3600 s" in text_of(site.mails()[0])


def test_a_restart_repeats_nothing(site: Site) -> None:
    site.catalogue.quarantine(T0, "t", "schema", "", b"x")
    site.says("journal: full")
    for _ in range(10):
        site.look()
        site.restart()
        site.says("journal: full")
    assert len(site.mails()) == 2
    with site.catalogue.transaction() as db:  # a crash between the mail and the note that it was told
        db.execute("UPDATE marks SET value = replace(value, '\"count\":1', '\"count\":0') WHERE job = 'watch'")
    site.restart()
    site.look(AGAIN_S)
    assert len(site.mails()) == 2


def test_names_from_outside_make_no_header(site: Site) -> None:
    site.catalogue.quarantine(T0, "t", "x =?UTF-8?Q?=0A?=Bcc: a@b", "", b"x")
    site.look()
    (mail,) = site.mails()
    assert mail["Bcc"] is None


def test_without_somebody_for_the_whole_plant_everybody_is_told(tmp_path: Path) -> None:
    site = Site(tmp_path, SHOP)
    site.catalogue.quarantine(T0, "t", "schema", "", b"x")
    site.look()
    assert len(site.mails("shop@works.example")) == 1
    site.close()
