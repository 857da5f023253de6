"""Group B: the gateway's process (and the head-end's)."""

from __future__ import annotations

import time

from tests.faults.chain import Chain
from tests.faults.play import Play, plays


@plays("B01", on="kills")
def random_kills(chain: Chain, play: Play) -> None:
    """SIGKILL of gateway, head-end or both, at random moments, also in the middle of starting."""
    kills = play.count(20, 200)
    dead_ns: int | None = None
    began = time.monotonic()
    for _ in range(kills):
        chain.pass_time(play.rng.uniform(0.0, 2.2))
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


@plays("B04")
def frozen_gateway(chain: Chain, play: Play) -> None:
    """SIGSTOP for ten plant minutes: what was not read is not invented afterwards."""
    frozen_ns = chain.clock.now_ns()
    chain.gateway.pause()
    chain.pass_time(10 if chain.factor >= 60 else 20)
    chain.gateway.resume()
    chain.excuses.append((frozen_ns - chain.lag_ns, chain.clock.now_ns() + chain.period_ns, "frozen"))
