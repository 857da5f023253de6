"""Group J: overload."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.chain import Chain
from tests.faults.plant_files import GATEWAY, Wish, write_gateway
from tests.faults.play import Play, plays, stage
from tests.faults.scenes_network import QUICK, intruder
from tests.servers.waiting import wait_until

LOAD = stage("load", Wish(constants=QUICK))


@plays("J01", on=LOAD)
def ten_times_the_readings(chain: Chain, play: Play) -> None:
    """Every meter is read ten times as often for some minutes of the plant, then as before."""
    for period_s, real_s in ((chain.wish.period_s / 10, play.count(8, 60)), (chain.wish.period_s, 0)):
        stopped_ns = chain.clock.now_ns()
        chain.gateway.stop()
        write_gateway(chain.folder, Wish(period_s=period_s), chain.up.port)
        chain.restart_gateway(stopped_ns)
        began, fresh, looks = time.monotonic(), 0, 0
        while time.monotonic() < began + real_s:
            chain.pass_time(0.25)
            if time.monotonic() > began + 2:
                looks, fresh = looks + 1, fresh + chain.fresh()
        play.expect(fresh >= 0.8 * looks, f"live data was fresh in {fresh} of {looks} looks")


@plays("J03", on=LOAD)
def flooded(chain: Chain, play: Play) -> None:
    """A client sends thousands of useless batches and opens connections: live data goes on, memory stays."""
    before = chain.headend.maxima.rss_mb
    sent = play.count(3000, 100_000)
    with intruder(chain, "flooder") as client:
        infos = [client.publish(f"ml1/up/{GATEWAY}/batch", b"useless %d" % number, qos=1) for number in range(sent)]
        for number in range(20):
            with intruder(chain, f"visitor-{number}"):
                chain.pass_time(0.02)
        infos[-1].wait_for_publish(60)
    play.over()
    grown = chain.headend.maxima.rss_mb - before
    play.notes.append(f"{sent} useless batches; the head-end's memory grew by {grown:.0f} MB")
    play.expect(grown < 60, f"the head-end grew by {grown:.0f} MB")


@plays("J05", on=LOAD)
def log_disk_full(chain: Chain, play: Play) -> None:
    """Nothing the gateway says can be written (/dev/full), while it has a lot to say."""
    stopped_ns = chain.clock.now_ns()
    chain.gateway.stop()
    chain.gateway.start(output=Path("/dev/full"))
    wait_until(lambda: chain.fresh(after_ns=stopped_ns), within=20, every=0.1, what="live data without a log")
    chain.excuses.append((stopped_ns - chain.lag_ns, chain.clock.now_ns(), "restarted"))
    for _ in range(2):
        chain.up.cut()
        chain.pass_time(1.5)
    play.expect(chain.gateway.running, "the gateway ended because its words could not be written")
    chain.gateway.stop()
    silent_ns = chain.clock.now_ns()
    chain.restart_gateway(silent_ns)


@plays("J06", on=LOAD)
def starved(chain: Chain, play: Play) -> None:
    """The gateway gets a tenth of a processor (SIGSTOP and SIGCONT in turn, as cpulimit does)."""
    until = time.monotonic() + play.count(6, 60)
    while time.monotonic() < until:
        chain.gateway.pause()
        chain.pass_time(0.09)
        chain.gateway.resume()
        chain.pass_time(0.01)
