"""Group D: the gateway's clock, at real speed, with polls every second."""

from __future__ import annotations

from tests.faults.chain import NS, Chain
from tests.faults.evidence import open_message, read_days
from tests.faults.plant_files import Wish
from tests.faults.play import Play, plays, stage
from tests.faults.scenes_network import QUICK
from tests.servers.waiting import wait_until

CLOCK = stage(
    "clock", Wish(real_clock=True, factor=1.0, period_s=1.0, commit_s=0.1, hooks=("gateway@clock",), constants=QUICK)
)
STEPPED, UNSYNCED = 64, 32
HOUR_S, YEAR_S = 3600, 365 * 86_400


@plays("D01", on=CLOCK)
def boots_in_1970(chain: Chain, play: Play) -> None:
    """The box wakes up with a clock of 1970 and is told the time four seconds later: what was read is dated then."""
    died_ns = chain.clock.now_ns()
    chain.gateway.kill()
    chain.order("gateway", {"clock": {"do": "shift", "s": 3600 - chain.clock.now_ns() / NS}})
    chain.restart_gateway(died_ns)
    chain.pass_time(4)
    chain.order("gateway", {})


@plays("D02", on=CLOCK)
def clock_steps(chain: Chain, play: Play) -> None:
    """An hour ahead for some seconds, and back: every reading is kept, once, and marked."""
    _ahead(chain, HOUR_S, play.count(5, 30))
    wait_until(lambda: _stepped(chain), within=20, every=0.2, what="readings marked as stepped")
    play.expect(play.said("gateway", "the clock jumped"), "nobody was told that the clock jumped")


@plays("D07", on=CLOCK)
def clock_goes_back(chain: Chain, play: Play) -> None:
    """Five seconds back for some seconds: new readings claim moments that are stored already, and overwrite nothing."""
    _ahead(chain, -5, play.count(5, 30))


@plays("D05", on=CLOCK)
def a_year_ahead(chain: Chain, play: Play) -> None:
    """A gateway that lives in the next year for some seconds: stored, marked, and no live value is hidden by it."""
    _ahead(chain, YEAR_S, play.count(4, 30))


@plays("D08", on=CLOCK)
def not_synchronised(chain: Chain, play: Play) -> None:
    """The kernel says that its clock is not synchronised: readings are accepted, and each one says so."""
    chain.pass_time(3)
    newest = [open_message(raw, chain.key) for raw, _ in read_days(chain.store).messages[-3:]]
    bits = {bits for message in newest for poll in message.polls for bits in poll.qualities}
    play.notes.append(f"quality bits of the newest readings: {sorted(bits)}")
    play.expect(
        all(b & (UNSYNCED | STEPPED) for b in bits), "a reading does not say that the clock is not synchronised"
    )


def _ahead(chain: Chain, seconds: int, real_s: float) -> None:
    chain.checker.shifts.add(seconds * NS)
    began_ns = chain.clock.now_ns()
    chain.order("gateway", {"clock": {"do": "shift", "s": seconds}})
    chain.pass_time(real_s)
    chain.order("gateway", {})
    for moment in (began_ns, chain.clock.now_ns()):  # the slot in which it jumps is asked for twice or not at all
        chain.excuses.append((moment - 2 * chain.period_ns, moment + 3 * chain.period_ns, "the clock jumped"))


def _stepped(chain: Chain) -> bool:
    newest = [open_message(raw, chain.key) for raw, _ in read_days(chain.store).messages[-6:]]
    return any(bits & STEPPED for message in newest for poll in message.polls for bits in poll.qualities)
