"""Fetch the real servers that tests talk to, without root and without touching the machine.

On Debian-like systems the packages are downloaded and unpacked (not installed) below `.local/servers` of the
checkout; shared libraries they miss are looked up among their own dependencies. Only Chromium is really installed, and
only by root or where sudo asks for no password. What cannot be had is written to `.local/servers/state.json` with the
reason; tests that need it are skipped and counted aloud. The script itself never fails for a missing server: it exits 0
and says what is missing.

    python scripts/fetch_servers.py [--no-chromium] [--again]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent / ".local" / "servers"
ROOT, DEBS, APT, STATE = HOME / "root", HOME / "debs", HOME / "apt", HOME / "state.json"
DOWNLOAD_S, UPDATE_S, INSTALL_S = 120, 180, 480


@dataclass(frozen=True)
class Server:
    """One thing tests may need: the packages that hold it, and the file that proves it is there."""

    name: str
    packages: tuple[str, ...]
    proof: str  # path below the unpacked root, or a pattern of one
    program: str | None = None  # the name to look for in PATH first


SERVERS = (
    Server("mosquitto", ("mosquitto",), "usr/sbin/mosquitto", "mosquitto"),
    Server("influxdb", ("influxdb",), "usr/bin/influxd", "influxd"),
    Server("libmodbus", ("libmodbus5",), "usr/lib/*/libmodbus.so.5"),
    Server("mbpoll", ("mbpoll", "libmodbus5"), "usr/bin/mbpoll", "mbpoll"),
    Server("socat", ("socat",), "usr/bin/socat", "socat"),
    Server("cjk_fonts", ("fonts-noto-cjk",), "usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"),
)


class Unavailable(Exception):
    """A server cannot be had; the message is the reason a person reads in the test summary."""


class Offline(Unavailable):
    """No package could be fetched at all: asking for the others would only cost time."""


def run(*command: str, timeout: float, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command, bounded in time, in plain English."""
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=cwd, env=environment, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout:.0f} s")


class Packages:
    """Debian packages, fetched with the machine's package lists or, if those are missing or stale, with our own."""

    def __init__(self) -> None:
        self._private = False
        self._unpacked: dict[str, Path] = {}

    def _apt(
        self, tool: str, *arguments: str, timeout: float, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        options = ["-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20", "-o", "Acquire::Retries=1"]
        if os.geteuid() == 0:  # else apt complains that its own user cannot write into the checkout
            options += ["-o", "APT::Sandbox::User=root"]
        if self._private:
            options += ["-o", f"Dir::State::lists={APT}/lists", "-o", f"Dir::Cache={APT}/cache"]
        return run(tool, *options, *arguments, timeout=timeout, cwd=cwd)

    def _use_private_lists(self) -> None:
        """Fetch package lists into the checkout: the machine's own are left as they are."""
        say("  package lists of this machine are missing or old; fetching a private copy")
        self._private = True
        for folder in (APT / "lists" / "partial", APT / "cache" / "archives" / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        done = self._apt("apt-get", "update", timeout=UPDATE_S)
        if done.returncode or "Failed to fetch" in done.stderr:
            raise Offline(f"package lists cannot be fetched: {last_line(done.stderr)}")

    def unpack(self, package: str) -> None:
        """Download `package` and lay its files below our root."""
        if package in self._unpacked:
            return
        DEBS.mkdir(parents=True, exist_ok=True)
        archive = self._archive(package) or self._download(package)
        done = run("dpkg-deb", "-x", str(archive), str(ROOT), timeout=DOWNLOAD_S)
        if done.returncode:
            archive.unlink(missing_ok=True)  # a torn download must not be kept for ever
            raise Unavailable(f"{archive.name} cannot be unpacked: {last_line(done.stderr)}")
        self._unpacked[package] = archive

    def _archive(self, package: str) -> Path | None:
        return next(iter(sorted(DEBS.glob(f"{package}_*.deb"))), None)

    def _download(self, package: str) -> Path:
        done = self._apt("apt-get", "download", package, timeout=DOWNLOAD_S, cwd=DEBS)
        if done.returncode and not self._private:
            self._use_private_lists()
            done = self._apt("apt-get", "download", package, timeout=DOWNLOAD_S, cwd=DEBS)
        archive = self._archive(package)
        if done.returncode or archive is None:
            reason = last_line(done.stderr)
            if "Unable to locate" in reason or "no installation candidate" in reason or "has no" in reason:
                raise Unavailable(f"this system's sources have no package {package}")
            raise Offline(f"{package} cannot be downloaded: {reason}")
        return archive

    def add_missing_libraries(self, program: Path) -> None:
        """Unpack those libraries that unpacked packages depend on and the machine lacks, until `ldd` is content."""
        asked: set[str] = set()
        while missing := missing_libraries(program):
            wanted = [name for name in self._library_dependencies() if name not in asked and not installed(name)]
            if not wanted:
                raise Unavailable(f"{program.name} lacks shared libraries: {', '.join(missing)}")
            for name in wanted:
                asked.add(name)
                self.unpack(name)

    def _library_dependencies(self) -> list[str]:
        names: list[str] = []
        for archive in self._unpacked.values():
            field = run("dpkg-deb", "-f", str(archive), "Depends", timeout=20).stdout
            names += re.findall(r"(?:^|[,|])\s*(lib[a-z0-9.+-]+)", field)
        return list(dict.fromkeys(names))


def installed(package: str) -> bool:
    """Is the package installed on the machine itself?"""
    done = run("dpkg-query", "-W", "-f=${db:Status-Abbrev}", package, timeout=20)
    return done.returncode == 0 and done.stdout.startswith("ii")


def library_path() -> str:
    """Where the unpacked shared libraries are, as LD_LIBRARY_PATH wants it."""
    folders = {file.parent for pattern in ("usr/lib", "lib") for file in (ROOT / pattern).glob("**/*.so*")}
    return ":".join(sorted(str(folder) for folder in folders))


def missing_libraries(program: Path) -> list[str]:
    """Names of shared libraries that the loader does not find for an unpacked program."""
    done = run("env", f"LD_LIBRARY_PATH={library_path()}", "ldd", str(program), timeout=20)
    return sorted(set(re.findall(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE)))


def last_line(text: str) -> str:
    """Say why, in one line: the one that names a failed connection if there is one, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"Could not|Temporary failure|Unable to connect|timed out", line)]
    return (telling or lines or ["no reason given"])[-1][-160:]


def say(text: str) -> None:
    print(text, flush=True)


def find(server: Server) -> str | None:
    """Where the server is already: on the machine, or unpacked before."""
    if server.program and (path := shutil.which(server.program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")):
        return path
    unpacked = next(iter(sorted(ROOT.glob(server.proof))), None)
    if unpacked and not missing_libraries(unpacked):
        return str(unpacked)
    return None


def fetch(server: Server, packages: Packages) -> str:
    """Unpack the server and everything it needs; return where it is."""
    for package in server.packages:
        packages.unpack(package)
    unpacked = next(iter(sorted(ROOT.glob(server.proof))), None)
    if unpacked is None:
        raise Unavailable(f"the package of this system holds no {server.proof}")
    if not server.proof.endswith(".ttc"):
        packages.add_missing_libraries(unpacked)
    return str(unpacked)


def find_chromium() -> str | None:
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


def install_chromium() -> str:
    """Install Chromium as a real package: the one thing here that changes the machine, so only as root or sudo -n."""
    if os.geteuid() == 0:
        prefix: list[str] = []
    elif shutil.which("sudo") and run("sudo", "-n", "true", timeout=10).returncode == 0:
        prefix = ["sudo", "-n"]
    else:
        raise Unavailable("not installed, and installing needs root: sudo apt-get install -y chromium")
    say("  installing chromium (about 120 MB, the only real installation)")
    apt = [*prefix, "apt-get", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=1"]
    for attempt in ("as is", "after apt-get update"):
        if attempt != "as is":
            run(*apt, "update", timeout=UPDATE_S)
        done = run(*apt, "install", "-y", "--no-install-recommends", "chromium", timeout=INSTALL_S)
        if done.returncode == 0 and (path := find_chromium()):
            return path
    raise Unavailable(f"apt-get install chromium: {last_line(done.stderr)}")


def main() -> int:
    """Fetch what is missing, write `state.json`, say what there is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--no-chromium", action="store_true", help="do not install Chromium even where that is possible"
    )
    parser.add_argument("--again", action="store_true", help="unpack everything anew")
    arguments = parser.parse_args()
    if arguments.again and HOME.exists():
        shutil.rmtree(HOME)
    HOME.mkdir(parents=True, exist_ok=True)

    started = time.monotonic()
    debian = bool(shutil.which("apt-get") and shutil.which("dpkg-deb"))
    packages, found, missing = Packages(), dict[str, str](), dict[str, str]()
    offline: str | None = None
    for server in SERVERS:
        try:
            if path := find(server):
                found[server.name] = path
                continue
            if not debian:
                raise Unavailable("not a Debian-like system: install it by hand, so that it is in PATH")
            if offline:
                raise Unavailable(offline)
            say(f"  fetching {server.name}")
            found[server.name] = fetch(server, packages)
        except Offline as error:
            offline = str(error)
            missing[server.name] = str(error)
        except Unavailable as error:
            missing[server.name] = str(error)
    try:
        if path := find_chromium():
            found["chromium"] = path
        elif arguments.no_chromium:
            raise Unavailable("not installed, and --no-chromium was given")
        elif not debian:
            raise Unavailable("not a Debian-like system: install Chromium by hand, so that it is in PATH")
        elif offline:
            raise Unavailable(offline)
        else:
            found["chromium"] = install_chromium()
    except Unavailable as error:
        missing["chromium"] = str(error)

    state = {"found": found, "missing": missing, "library_path": library_path(), "fonts": str(ROOT / "usr" / "share")}
    STATE.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    say(f"servers: {len(found)} there ({', '.join(sorted(found))}), {time.monotonic() - started:.0f} s")
    for name, reason in sorted(missing.items()):
        say(f"servers: WITHOUT {name}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
