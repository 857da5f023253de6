"""A server process ends with the test run that started it, even when that run is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.servers.processes import free_port, port_answers
from tests.servers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
STARTS_ONE = """
import os, sys, time
from pathlib import Path
from tests.servers.processes import ServerProcess
port = int(sys.argv[1])
command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
ServerProcess(command, port=port, directory=Path(sys.argv[2]), environment=dict(os.environ)).start()
sys.stdin.read()
"""


def test_a_killed_run_leaves_no_server_behind(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", STARTS_ONE, str(port), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) as run:
        wait_until(lambda: port_answers(port), what="the server")
        run.kill()
    wait_until(lambda: not port_answers(port), what="the end of the server")
