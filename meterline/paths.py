"""Where the files we ship are, in a wheel and in a checkout alike."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(folder: str) -> Path:
    """The shipped ``config`` or ``dashboards`` folder.

    In a wheel these folders are data packages without a module (``meterline/shipped_config``), which neither an
    editable install shows nor ``importlib.resources`` names as one path; in a checkout they lie beside the package.

    Raises
    ------
    FileNotFoundError
        The installation is incomplete; reinstall it.
    """
    for place in (_PACKAGE / f"shipped_{folder}", _PACKAGE.parent / folder):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"the shipped folder {folder!r} is missing: reinstall meterline")


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


def accuracy_dir() -> Path:
    """Shipped error limits of instruments, one carrier a file."""
    return shipped("config") / "accuracy"


def tariffs_dir() -> Path:
    """Shipped tariffs: time-of-use windows, power-factor adjustment."""
    return shipped("config") / "tariffs"
