"""What a meter's display shows of a moment, beside its counters: voltages, currents, powers, flow, temperature.

Currents follow from what really flows, powers from what the meter measures: with a fuse of its voltage path blown, a
meter still sees the current of that phase but no power.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from collector.simulated.faults import Fault
from collector.simulated.loads import MILLIONTHS, Flows
from collector.simulated.noise import Wander, chance
from collector.simulated.physics import State
from meterline.clock import NS
from meterline.measurands import Carrier

STANDARD_PER_ACTUAL = (1197, 1000)
"""Standard volume of a working volume of gas at 0.12 MPa absolute and 20 degC, as a ratio."""
_DISTORTION = {"voltage": 1.8, "current": 9.0}


class Grid:
    """The public supply: every meter of a site sees the same voltage and frequency wander.

    Parameters
    ----------
    seed
        Of the site.
    """

    def __init__(self, seed: int) -> None:
        self._volts = [Wander(seed + n, ((5400, 0.6), (300, 0.3), (20, 0.1))) for n in range(3)]
        self._hertz = Wander(seed + 7, ((600, 0.7), (30, 0.3)))

    def volts(self, t_s: int, nominal_v: float, sag: float) -> tuple[float, float, float]:
        """Phase voltages at a meter whose load makes them sag by a share. [V]"""
        one, two, three = (nominal_v * (1.012 - sag + 0.012 * wander.at(t_s)) for wander in self._volts)
        return one, two, three

    def hertz(self, t_s: int) -> float:
        """Frequency. [Hz]"""
        return 50.0 + 0.03 * self._hertz.at(t_s)


def electric_gauges(
    state: State, grid: Grid, nominal_v: float, rated_kw: float, seed: int, faults: Sequence[Fault]
) -> dict[str, float]:
    """Every momentary electrical value, primary, in canonical units."""
    t_s, true, seen = state.moment.t_s, state.true, state.seen
    sag = 0.012 * min(1.5, true.p / MILLIONTHS / rated_kw) if rated_kw else 0.0
    volts = list(grid.volts(t_s, nominal_v, sag))
    amps = [math.hypot(true[n], true[n + 3]) / 1000.0 / volts[n] for n in range(3)]  # mW / 1000 / V = A
    for fault in faults:
        if fault.kind == "phase_loss" and fault.active(t_s * NS):
            volts[round(fault.level) - 1] = nominal_v * 0.006
    values: dict[str, float] = {
        "frequency": grid.hertz(t_s),
        "voltage.ln.mean": sum(volts) / 3,
        "current.mean": sum(amps) / 3,
        "current.n": _neutral(true, amps),
        "temperature.meter": 31.0 + 6.0 * sag / 0.012 + chance(seed, t_s // 300),
    }
    for n, (a, b, pair) in enumerate(((0, 1, "l12"), (1, 2, "l23"), (2, 0, "l31"))):
        values[f"voltage.{pair}"] = math.sqrt(volts[a] ** 2 + volts[b] ** 2 + volts[a] * volts[b])
        phase = f"l{n + 1}"
        values[f"voltage.{phase}n"], values[f"current.{phase}"] = volts[n], amps[n]
        _powers(values, phase, seen[n], seen[n + 3])
        values[f"thd.voltage.{phase}"] = _DISTORTION["voltage"] * (0.9 + 0.2 * chance(seed, 1, n, t_s // 60))
        values[f"thd.current.{phase}"] = _DISTORTION["current"] * (0.8 + 0.4 * chance(seed, 2, n, t_s // 60))
    values["voltage.ll.mean"] = (values["voltage.l12"] + values["voltage.l23"] + values["voltage.l31"]) / 3
    _powers(values, "total", seen.p, seen.q)
    return values


def _powers(values: dict[str, float], place: str, p: int, q: int) -> None:
    active, reactive = p / MILLIONTHS, q / MILLIONTHS
    apparent = math.hypot(active, reactive)
    values[f"power.active.{place}"] = active
    values[f"power.reactive.{place}"] = reactive
    values[f"power.apparent.{place}"] = apparent
    values[f"power_factor.{place}"] = active / apparent if apparent else 1.0


def _neutral(flows: Flows, amps: Sequence[float]) -> float:
    real = imaginary = 0.0
    for n, ampere in enumerate(amps):
        angle = -2 * math.pi * n / 3 - math.atan2(flows[n + 3], flows[n])
        real += ampere * math.cos(angle)
        imaginary += ampere * math.sin(angle)
    return math.hypot(real, imaginary)


def pipe_gauges(state: State, carrier: Carrier, seed: int, *, corrected: bool) -> dict[str, float]:
    """Every momentary value of a gas, water, steam, heat or air meter, in canonical units.

    Parameters
    ----------
    corrected
        Whether the meter tells working volume and standard volume apart; then the load counts as standard volume.
    """
    t_s = state.moment.t_s
    flow = state.seen.p1 / MILLIONTHS
    standard, actual = STANDARD_PER_ACTUAL
    hot = carrier in (Carrier.HEAT, Carrier.STEAM)
    return {
        "flow.volume": flow * actual / standard if corrected else flow,
        "flow.volume.standard": flow,
        "flow.mass": flow,
        "power.heat": flow,
        "flow.velocity": flow / 28.3,  # in a pipe of 100 mm: area 0.00785 m2 times 3600 s
        "temperature.supply": 92.0 + chance(seed, 1, t_s // 120),
        "temperature.return": 68.0 + chance(seed, 2, t_s // 120),
        "temperature.medium": (165.0 if hot else 20.0) + chance(seed, 3, t_s // 120),
        "pressure.medium": (0.62 if hot else 0.12) + 0.004 * chance(seed, 4, t_s // 60),
        "temperature.meter": 24.0 + chance(seed, 5, t_s // 300),
    }
