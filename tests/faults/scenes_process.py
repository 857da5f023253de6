"""Group B: the gateway's process (and the head-end's)."""

from __future__ import annotations

import resource
import select
import socket
import subprocess
import time
from pathlib import Path

from tests.faults.chain import METERLINE, Chain
from tests.faults.evidence import read_days
from tests.faults.plant_files import Wish
from tests.faults.play import Play, plays, stage
from tests.faults.scenes_network import QUICK
from tests.servers.waiting import wait_until

COMMIT = "gateway_firmware_py.journal:Journal.commit"
ACKNOWLEDGE = "gateway_firmware_py.state:State.acknowledge"
POLLING = "collector.poller:BusMaster._serve"
PAHO = "paho.mqtt.client:Client._loop"
STUCK_S, STALLED_S = 2.0, 3.0
KILLS = stage("kills", Wish(), long=True)
HOOKED = stage(
    "process",
    Wish(
        hooks=tuple(f"gateway@{target}" for target in (COMMIT, ACKNOWLEDGE, POLLING, PAHO)),
        constants={
            **QUICK,
            "gateway_firmware_py.main:STUCK_S": STUCK_S,
            "gateway_firmware_py.main:GOOD_S": 2.0,
            "gateway_firmware_py.uplink:STALLED_S": STALLED_S,
        },
        options=("--last-good",),
        environment={"NOTIFY_SOCKET": "@meterline-faults-{folder}"},
    ),
)


@plays("B01", on=KILLS)
def random_kills(chain: Chain, play: Play) -> None:
    """SIGKILL of gateway, head-end or both, at random moments, also in the middle of starting."""
    kills = play.count(20, 200)
    dead_ns: int | None = None
    began = time.monotonic()
    for _ in range(kills):
        if play.rng.random() < 0.5:  # else in the middle of starting
            newest = len(read_days(chain.store).messages)
            until = time.monotonic() + 5
            while time.monotonic() < until and len(read_days(chain.store).messages) == newest:
                chain.pass_time(0.05)
        chain.pass_time(play.rng.uniform(0.0, 1.0))
        target = play.rng.choice(("gateway", "gateway", "headend", "both"))
        if target != "headend":
            if dead_ns is not None and chain.gateway.said("bus(es)", began):
                chain.excuses.append((dead_ns - chain.lag_ns, chain.clock.now_ns(), "gateway killed"))
                dead_ns = None
            dead_ns = dead_ns or chain.clock.now_ns()
            chain.gateway.kill()
        if target != "gateway":
            chain.headend.kill()
            chain.headend.start()
        if target != "headend":
            began = time.monotonic()
            chain.gateway.start()
    if dead_ns is not None:
        chain.excuse_gateway(dead_ns, began)
    play.notes.append(f"{kills} kills")


@plays("B02", on=HOOKED)
def killed_between_commit_and_publish(chain: Chain, play: Play) -> None:
    """SIGKILL when the journal has the batch and nobody else has; and when the acknowledgement has just come."""
    for target, do in ((COMMIT, "kill-after"), (ACKNOWLEDGE, "kill-before"), (ACKNOWLEDGE, "kill-after")):
        for _ in range(play.count(1, 15)):
            _die_at(chain, {target: {"do": do, "nth": play.rng.randrange(1, 4)}})


@plays("B03", on=HOOKED)
def terminated_with_a_backlog(chain: Chain, play: Play) -> None:
    """SIGTERM while nothing can be sent: it ends in time and drains nothing."""
    chain.up.refuse()
    chain.pass_time(4)
    stopped_ns = chain.clock.now_ns()
    took_s = chain.gateway.stop()
    play.notes.append(f"stopped in {took_s:.1f} s")
    play.expect(took_s < 5, f"took {took_s:.1f} s to stop")
    chain.up.heal()
    chain.restart_gateway(stopped_ns)


@plays("B04", on=HOOKED)
def frozen_gateway(chain: Chain, play: Play) -> None:
    """SIGSTOP for ten plant minutes: what was not read is not invented afterwards."""
    frozen_ns = chain.clock.now_ns()
    chain.gateway.pause()
    chain.pass_time(10)
    chain.gateway.resume()
    chain.excuses.append((frozen_ns - chain.lag_ns, chain.clock.now_ns() + chain.period_ns, "frozen"))


@plays("B05", on=HOOKED)
def one_task_fails(chain: Chain, play: Play) -> None:
    """An exception nobody foresaw in the task of one line: it starts again, the other line does not notice."""
    failed_ns = chain.clock.now_ns()
    chain.order("gateway", {POLLING: {"do": "raise", "times": 1}})
    wait_until(lambda: play.said("gateway", "task-bus-"), within=10, what="the failed task to be named")
    chain.order("gateway", {})
    wait_until(lambda: chain.gateway.said_count("over", play.began_s), within=10, what="the task to be back")
    chain.excuses.append((failed_ns - chain.lag_ns, chain.clock.now_ns() + chain.period_ns, "one line's task"))
    named = {line.split(":")[0] for at, line in chain.gateway.lines if at >= play.began_s and "task-bus-" in line}
    play.expect(len(named) == 1, f"{sorted(named)} failed where one line should have")


@plays("B06", on=HOOKED)
def network_thread_dies(chain: Chain, play: Play) -> None:
    """The library's network thread ends by an exception and goes on saying that it is connected."""
    play.traceback_meant = True
    chain.order("gateway", {PAHO: {"do": "raise", "times": 1}})
    wait_until(lambda: play.said("gateway", "uplink: "), within=60, what="the stall to be noticed")
    play.notes.append(f"noticed after {time.monotonic() - play.began_s:.0f} s (limit set to {STALLED_S:g} s)")
    chain.order("gateway", {})


@plays("B07", on=HOOKED)
def committing_thread_hangs(chain: Chain, play: Play) -> None:
    """The thread that commits hangs for ever: the service manager's watchdog is no longer fed, and it restarts us."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + chain.notify_name)
        _await_feeding(manager, 10)
        hung_ns = chain.clock.now_ns()
        chain.order("gateway", {COMMIT: {"do": "hang"}})
        began = time.monotonic()
        while _fed(manager, 2.5):
            play.expect(time.monotonic() < began + 20, "the watchdog is fed although nothing is committed")
            if play.problems:
                break
        play.notes.append(f"no longer fed after {time.monotonic() - began - 2.5:.0f} s (limit set to {STUCK_S:g} s)")
    chain.gateway.kill()  # as systemd does
    chain.order("gateway", {})
    chain.restart_gateway(hung_ns)


@plays("B08", on=HOOKED)
def out_of_memory(chain: Chain, play: Play) -> None:
    """No more memory may be had (RLIMIT_AS), then the kernel kills it."""
    short_ns = chain.clock.now_ns()
    size = int(Path(f"/proc/{chain.gateway.pid}/statm").read_text(encoding="ascii").split()[0])
    chain.gateway.limit(resource.RLIMIT_AS, size * resource.getpagesize())
    chain.pass_time(3)
    chain.gateway.kill()
    chain.restart_gateway(short_ns)


@plays("B09", on=HOOKED)
def no_file_descriptors(chain: Chain, play: Play) -> None:
    """No file can be opened and no connection made; what is open goes on. Then there are descriptors again."""
    chain.gateway.limit(resource.RLIMIT_NOFILE, 3)
    chain.up.cut()
    chain.pass_time(4)
    chain.gateway.unlimit(resource.RLIMIT_NOFILE)
    play.expect(play.said("gateway", "uplink: "), "the gateway said nothing")


@plays("B10", on=HOOKED)
def second_instance(chain: Chain, play: Play) -> None:
    """The gateway is started a second time: it says who runs already and leaves."""
    done = subprocess.run(
        [*METERLINE, "gateway", "gateway.yaml"], cwd=chain.folder, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    play.expect(done.returncode == 3 and str(chain.gateway.pid) in said, f"exit {done.returncode}: {said[-200:]}")


@plays("B11", on=HOOKED)
def configuration_ruined(chain: Chain, play: Play) -> None:
    """Somebody saves a file that cannot be read, and the box restarts: it runs as it last did well, and says so."""
    wait_until(lambda: (chain.data / "last-good" / "current").exists(), within=20, what="a good configuration kept")
    file = chain.folder / "gateway.yaml"
    good = file.read_text(encoding="utf-8")
    file.write_text("gateway: gw-1\nbroker: {host: nowhere, prot: 1}\nrates: fast\n", encoding="utf-8")
    chain.kill_gateway()
    chain.settle()
    play.expect(play.said("gateway", "configuration: "), "nobody was told that an older configuration runs")
    file.write_text(good, encoding="utf-8")
    chain.kill_gateway()


@plays("B12", on=HOOKED)
def everything_fails_at_once(chain: Chain, play: Play) -> None:
    """Meters gone, broker gone, head-end frozen: many failures a second and a line per change of state."""
    chain.meters.pause()
    chain.broker.kill()
    began_ns = chain.clock.now_ns()
    chain.pass_time(play.count(5, 60))
    chain.broker.start()
    chain.meters.resume()
    chain.excuses.append((began_ns - chain.lag_ns, chain.clock.now_ns() + 2 * chain.period_ns, "meters stopped"))
    chain.doubts.append((began_ns - chain.lag_ns, chain.clock.now_ns() + 3 * chain.period_ns, "meters stopped"))
    lines = chain.gateway.lines_per_min(play.began_s, time.monotonic())
    play.expect(lines <= 30, f"{lines} lines of the gateway in {time.monotonic() - play.began_s:.0f} s")


def _die_at(chain: Chain, orders: dict[str, dict[str, object]]) -> None:
    """Let the gateway kill itself at a place, and start it again."""
    chain.order("gateway", orders)
    chain.gateway.wait_ended(20)
    died_ns = chain.clock.now_ns()
    chain.order("gateway", {})
    chain.restart_gateway(died_ns)


def _fed(manager: socket.socket, within_s: float) -> bool:
    """Whether the watchdog is fed within a time."""
    until = time.monotonic() + within_s
    while (left := until - time.monotonic()) > 0:
        if select.select([manager], [], [], left)[0] and b"WATCHDOG=1" in manager.recv(4096):
            return True
    return False


def _await_feeding(manager: socket.socket, within_s: float) -> None:
    assert _fed(manager, within_s), "the watchdog was never fed"
