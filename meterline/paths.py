"""Where the files we ship are, in a wheel and in a checkout alike."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


def shipped(folder: str) -> Path:
    """The shipped ``config`` or ``dashboards`` folder.

    In a wheel these folders are mapped to data packages (``meterline.shipped_config``), which an editable install
    does not show; there the checkout itself is next to us.

    Raises
    ------
    FileNotFoundError
        The installation is incomplete; reinstall it.
    """
    try:
        mapped = Path(str(files(f"meterline.shipped_{folder}")))
    except ModuleNotFoundError:
        mapped = _CHECKOUT / folder
    if not mapped.is_dir():
        raise FileNotFoundError(f"the shipped folder {folder!r} is missing: reinstall meterline")
    return mapped


def profiles_dir() -> Path:
    """Shipped meter profiles, one meter type a file."""
    return shipped("config") / "profiles"


def factors_dir() -> Path:
    """Shipped coefficients, each with edition, source and confidence."""
    return shipped("config") / "factors"


def sites_dir() -> Path:
    """Shipped example sites, one folder each."""
    return shipped("config") / "sites"


def dashboards_dir() -> Path:
    """Shipped Grafana dashboards and their provisioning."""
    return shipped("dashboards")
