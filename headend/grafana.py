"""Put our data source, folder and dashboards into a Grafana, and ask it whether their queries bring data.

Safe to repeat: what is already as it should be is not touched, and nothing outside our own folder ever is. Only
addresses by uid are used (those by number are switched off by default in newer versions), through the ``api`` object
of grafana-api, whose own methods predate them.

Not run against a Grafana server in our tests, because no package carries one: see docs/grafana.md for what was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from grafana_api.grafana_api import GrafanaException
from grafana_api.grafana_face import GrafanaFace

from meterline.errors import ConfigError, Problem, Unreachable

FOLDER_UID = "meterline"
FOLDER_TITLE = "meterline"
DATASOURCE_UID = "meterline"
_ATTEMPTS = 4
_VOLATILE = ("id", "version", "iteration")
"""What Grafana changes in a stored dashboard by itself."""
Json = dict[str, Any]


class GrafanaRefused(Unreachable):
    """Grafana answered that it will not; repeating the same call is pointless."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs from what it should be.

    Attributes
    ----------
    what
        ``folder``, ``datasource`` or ``dashboard``.
    name
        Its title.
    action
        ``create``, ``update`` or ``none``.
    differences
        Paths that differ, for ``--diff``.
    """

    what: str
    name: str
    action: str
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatasourceSettings:
    """The InfluxDB (or whatever speaks its 1.x query API) that Grafana shall read."""

    url: str
    database: str
    user: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class PanelCheck:
    """What one query of one panel brought when Grafana itself ran it."""

    dashboard: str
    panel: str
    ref_id: str
    rows: int
    error: str = ""


class Grafana:
    """One Grafana server, spoken to as a service account.

    Parameters
    ----------
    url
        Such as ``https://grafana.example:3000/path``.
    token
        Of a service account that may write dashboards and data sources (role Editor, and datasources:write).
    verify
        Check the server's certificate. Leave it on.
    pause
        How to wait between attempts; a test hands in one that does not.
    """

    def __init__(
        self, url: str, token: str, *, verify: bool = True, pause: Callable[[float], None] = time.sleep
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                [Problem("--url", "", f"{url!r} is no web address", "write it like https://grafana.example:3000")]
            )
        self.url = url
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        prefix = parts.path.strip("/")
        self._api = GrafanaFace(
            auth=token, host=host, port=parts.port, protocol=parts.scheme, verify=verify, timeout=20.0,
            url_path_prefix=f"{prefix}/" if prefix else "",
        ).api  # fmt: skip
        self._pause = pause

    def sync(self, boards: Path, datasource: DatasourceSettings | None, *, apply: bool = True) -> list[Change]:
        """Bring folder, data source and dashboards to what we ship.

        Parameters
        ----------
        boards
            Folder with the dashboards' JSON files.
        datasource
            None leaves the data source alone (it is provisioned by file, or made by hand).
        apply
            False only says what would change.

        Raises
        ------
        Unreachable
            No answer, or only "try later"; what was done so far is kept, run it again.
        GrafanaRefused
            Not allowed, or one of our uids is taken in somebody else's folder.
        """
        changes = [self._sync_folder(apply)]
        if datasource is not None:
            changes.append(self._sync_datasource(datasource, apply))
        changes += [self._sync_dashboard(board, apply) for board in read_boards(boards)]
        return changes

    def remove(self) -> None:
        """Take our folder, with the dashboards in it, and our data source away again."""
        self._delete(f"/folders/{FOLDER_UID}")
        self._delete(f"/datasources/uid/{DATASOURCE_UID}")

    def check(self, boards: Path, variables: dict[str, str], hours: float = 24.0) -> Iterator[PanelCheck]:
        """Let Grafana run every panel's query and say how many rows came.

        Parameters
        ----------
        variables
            Values for the dashboards' variables, such as ``{"site": "plant-1", "meter": "m1"}``.
        """
        health = self._call("GET", f"/datasources/uid/{DATASOURCE_UID}/health")
        if health is not None and health.get("status") not in (None, "OK"):
            raise GrafanaRefused("the data source", str(health.get("message", "no reason given")))
        for board in read_boards(boards):
            for panel in board["panels"]:
                for target in panel.get("targets", []):
                    query = target["query"]
                    for name, value in variables.items():
                        query = query.replace(f"${name}", value)
                    yield self._run(board["title"], panel["title"], {**target, "query": query}, hours)

    # -- the three kinds of things -----------------------------------------------------------------------------------
    def _sync_folder(self, apply: bool) -> Change:
        if self._call("GET", f"/folders/{FOLDER_UID}") is not None:
            return Change("folder", FOLDER_TITLE, "none")
        if apply:
            self._call("POST", "/folders", {"uid": FOLDER_UID, "title": FOLDER_TITLE})
        return Change("folder", FOLDER_TITLE, "create")

    def _sync_datasource(self, wanted: DatasourceSettings, apply: bool) -> Change:
        body: Json = {
            "uid": DATASOURCE_UID, "name": "meterline", "type": "influxdb", "access": "proxy", "url": wanted.url,
            "user": wanted.user,
            "jsonData": {"version": "InfluxQL", "dbName": wanted.database, "httpMode": "POST", "timeInterval": "1m"},
        }  # fmt: skip
        secret = {"secureJsonData": {"password": wanted.password}} if wanted.password else {}
        found = self._call("GET", f"/datasources/uid/{DATASOURCE_UID}")
        if found is None:
            if apply:
                self._call("POST", "/datasources", {**body, **secret})
            return Change("datasource", "meterline", "create")
        # A secret cannot be read back, so it alone never counts as a difference.
        differences = tuple(_differences(body, {key: found.get(key) for key in body}))
        if not differences:
            return Change("datasource", "meterline", "none")
        if apply:
            self._call("PUT", f"/datasources/uid/{DATASOURCE_UID}", {**body, **secret})
        return Change("datasource", "meterline", "update", differences)

    def _sync_dashboard(self, board: Json, apply: bool) -> Change:
        uid, title = board["uid"], board["title"]
        found = self._call("GET", f"/dashboards/uid/{uid}")
        differences: tuple[str, ...] = ()
        if found is not None:
            folder = found["meta"].get("folderUid", "")
            if folder != FOLDER_UID:
                raise GrafanaRefused(
                    f"dashboard {uid!r}",
                    f"already stands in folder {found['meta'].get('folderTitle') or 'General'!r}, which is not ours",
                    "move or delete it there",
                )
            differences = tuple(_differences(_stable(board), _stable(found["dashboard"])))
            if not differences:
                return Change("dashboard", title, "none")
        if apply:
            body = {"dashboard": {**_stable(board), "id": None}, "folderUid": FOLDER_UID, "overwrite": True}
            self._call("POST", "/dashboards/db", {**body, "message": "meterline grafana sync"})
        return Change("dashboard", title, "update" if found else "create", differences)

    def _run(self, board: str, panel: str, target: Json, hours: float) -> PanelCheck:
        query = {**target, "datasource": {"type": "influxdb", "uid": DATASOURCE_UID}, "intervalMs": 60_000}
        answer = self._call("POST", "/ds/query", {"queries": [query], "from": f"now-{hours:g}h", "to": "now"}) or {}
        result = answer.get("results", {}).get(target["refId"], {})
        rows = sum(len((frame.get("data", {}).get("values") or [[]])[0]) for frame in result.get("frames", []))
        return PanelCheck(board, panel, target["refId"], rows, str(result.get("error", "")))

    # -- one call ----------------------------------------------------------------------------------------------------
    def _delete(self, path: str) -> None:
        self._call("DELETE", path)

    def _call(self, verb: str, path: str, body: Json | None = None) -> Json | None:
        """One request; None for 404. Tries again while Grafana is busy or away."""
        reason = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause(0.5 * 2**attempt)
            try:
                answer: Json = getattr(self._api, verb)(path, json=body)
            except GrafanaException as error:
                if error.status_code == 404 and verb in ("GET", "DELETE"):
                    return None
                if error.status_code == 429 or error.status_code >= 500:
                    reason = error.message
                    continue
                raise GrafanaRefused(f"{verb} {path}", str(error.message), _remedy(error.status_code)) from error
            except requests.RequestException as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                return answer
        raise Unreachable(f"Grafana at {self.url}", reason, "check the address, and that Grafana runs")


def read_boards(folder: Path) -> list[Json]:
    """The dashboards of a folder, by file name.

    Raises
    ------
    ConfigError
        A file is no dashboard.
    """
    boards, problems = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            board = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            problems.append(Problem(str(path), "", f"cannot be read as JSON: {error}"))
            continue
        if not isinstance(board, dict) or not board.get("uid") or not isinstance(board.get("panels"), list):
            problems.append(Problem(str(path), "", "is no dashboard", "it needs a uid and panels"))
            continue
        boards.append(board)
    if not boards and not problems:
        problems.append(Problem(str(folder), "", "holds no dashboards (*.json)"))
    if problems:
        raise ConfigError(problems)
    return boards


def _remedy(status: int) -> str:
    return {
        401: "the token is wrong or expired: make a new one for the service account",
        403: "the service account may not do this: give it the role Editor and datasources:write",
        412: "somebody changed it at the same time: run it again",
    }.get(status, "")


def _stable(board: Json) -> Json:
    return {key: value for key, value in board.items() if key not in _VOLATILE}


def _differences(wanted: Any, found: Any, path: str = "") -> Iterator[str]:
    """Paths at which what we want is not there; keys that only the server has (its defaults) do not count."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            yield from _differences(value, found.get(key), f"{path}.{key}" if path else key)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (ours, theirs) in enumerate(zip(wanted, found, strict=True)):
            yield from _differences(ours, theirs, f"{path}[{index}]")
    elif wanted != found and not (wanted in ({}, [], None, "") and found in ({}, [], None, "")):
        yield path
