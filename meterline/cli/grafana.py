"""``meterline grafana``: the dashboards into a Grafana, and what its own queries bring there."""

from __future__ import annotations

from pathlib import Path

from meterline.cli.screen import Screen
from meterline.errors import EXIT_FINE, EXIT_FOUND, ConfigError, Problem
from meterline.paths import dashboards_dir


def sync(
    screen: Screen,
    url: str,
    token_file: Path,
    influx_url: str | None,
    database: str,
    user: str,
    password_file: Path | None,
    *,
    only_look: bool,
) -> None:
    """Bring folder, data source and dashboards to what we ship, or say what would change.

    Raises
    ------
    ConfigError
        An address or a file is wrong; nothing was sent.
    Unreachable
        Grafana does not answer, or refuses.
    """
    from headend.grafana import DatasourceSettings, Grafana

    token = _secret(token_file)
    password = _secret(password_file) if password_file else ""
    source = DatasourceSettings(influx_url, database, user, password) if influx_url else None
    changes = Grafana(url, token).sync(dashboards_dir(), source, apply=not only_look)
    for change in changes:
        screen.line(f"{change.action:7} {change.what:10} {change.name}")
        for place in change.differences:
            screen.line(f"          {place}")
    count = sum(change.action != "none" for change in changes)
    if not count:
        screen.say("grafana.unchanged")
    else:
        screen.say("grafana.would" if only_look else "grafana.changed", count=count)
    screen.json(
        {
            "written": not only_look,
            "changes": [
                {"what": c.what, "name": c.name, "action": c.action, "differences": list(c.differences)}
                for c in changes
            ],
        }
    )


def check(screen: Screen, url: str, token_file: Path, site: str, meter: str, hours: float) -> int:
    """Let Grafana run every query; 1 if one of them fails or brings nothing.

    Raises
    ------
    ConfigError, Unreachable
        As `sync`.
    """
    from headend.grafana import Grafana

    grafana = Grafana(url, _secret(token_file))
    checks = list(grafana.check(dashboards_dir(), {"site": site, "meter": meter, "incomer": meter}, hours))
    for found in checks:
        screen.line(f"{found.rows:7} {found.dashboard} / {found.panel} {found.ref_id}  {found.error}".rstrip())
    good = sum(found.rows > 0 and not found.error for found in checks)
    screen.say("grafana.answered", count=good, all=len(checks))
    screen.json(
        {
            "queries": [
                {"dashboard": c.dashboard, "panel": c.panel, "ref": c.ref_id, "rows": c.rows, "error": c.error}
                for c in checks
            ]
        }
    )
    return EXIT_FINE if good == len(checks) else EXIT_FOUND


def remove(screen: Screen, url: str, token_file: Path) -> None:
    """Take away what `sync` made.

    Raises
    ------
    ConfigError, Unreachable
        As `sync`.
    """
    from headend.grafana import Grafana

    Grafana(url, _secret(token_file)).remove()
    screen.say("grafana.removed", url=url)
    screen.json({"removed": True})


def _secret(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror}", "check the path")]) from error
    if not secret:
        raise ConfigError([Problem(str(path), "", "the file is empty", "put the secret into it, alone")])
    return secret
