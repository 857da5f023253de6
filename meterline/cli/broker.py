"""The demo's MQTT broker: mosquitto where there is one, else rumqttd out of the pip package ``iotcore``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from meterline.errors import Unreachable
from meterline.paths import shipped


@dataclass(frozen=True)
class BrokerProgram:
    """How to start a broker.

    Attributes
    ----------
    name
        For people.
    """

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


def broker_program(folder: Path, port: int, wish: str = "") -> BrokerProgram:
    """Find a broker and write its configuration into `folder`.

    Parameters
    ----------
    wish
        ``mosquitto`` or ``iotcore``; empty takes what is there.

    Raises
    ------
    Unreachable
        Neither is on this machine.
    """
    if wish != "iotcore" and (found := _mosquitto()):
        path, env = found
        config = folder / "mosquitto.conf"
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "max_queued_messages 10000", "log_type error"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            lines.append("user root")  # else it becomes `nobody`, which may not read the folder
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return BrokerProgram("mosquitto", (path, "-c", str(config)), env)
    if wish != "mosquitto" and find_spec("iotcore"):
        config = folder / "rumqttd.toml"
        text = (shipped("config") / "broker" / "rumqttd.toml").read_text(encoding="utf-8")
        config.write_text(text.replace("127.0.0.1:1883", f"127.0.0.1:{port}"), encoding="utf-8")
        return BrokerProgram(
            "rumqttd (iotcore)",
            (sys.executable, "-m", "iotcore", "--config", str(config), "--log-level", "CRITICAL"),
        )
    raise Unreachable(
        "MQTT broker", "none is on this machine", "apt-get install mosquitto, or pip install 'meterline[demo]'"
    )


def _mosquitto() -> tuple[str, dict[str, str]] | None:
    path = shutil.which("mosquitto", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if path:
        return path, {}
    # `make servers` unpacks one into the checkout, with the libraries it needs, and writes down where.
    state = Path(__file__).resolve().parents[2] / ".local" / "servers" / "state.json"
    try:
        found = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    path = found.get("found", {}).get("mosquitto")
    if not path or not Path(path).exists():
        return None
    return path, {"LD_LIBRARY_PATH": str(found.get("library_path", ""))}
