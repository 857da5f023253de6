"""TLS to the broker, the same for gateway and head-end: its certificate is checked, or nothing is sent."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meterline.clock import NS
from meterline.settings import Broker

WARN_DAYS = 30
"""A broker's certificate that ends within this is named while there is time to renew it. [days]"""


def tls_context(broker: Broker, folder: Path) -> ssl.SSLContext:
    """What the connection demands: TLS 1.2 or better, a certificate of our authority, for the host we dialled.

    Parameters
    ----------
    folder
        Where relative names of certificate files start.

    Raises
    ------
    OSError
        A file is not there or holds no certificate; the message names it.
    """
    name = broker.ca_file
    try:
        context = ssl.create_default_context(cafile=str(folder / name) if name else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if broker.cert_file:
            name = broker.cert_file
            context.load_cert_chain(folder / broker.cert_file, folder / broker.key_file if broker.key_file else None)
    except (OSError, ValueError) as error:
        raise OSError(f"certificate file {folder / str(name)}: {error}") from error
    return context


def why_refused(error: Exception) -> str:
    """What is wrong with the broker's certificate, for a person; empty if the error is of another kind."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return ""
    said = error.verify_message
    return f"the broker's certificate is refused: {said}; check ca_file, the certificate and this machine's clock"


def ends_soon(certificate: Mapping[str, Any] | None, now_ns: int) -> str:
    """That a peer's certificate (as `ssl.SSLSocket.getpeercert` gives it) ends within `WARN_DAYS`; empty if not."""
    if not certificate or "notAfter" not in certificate:
        return ""
    left_days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - now_ns / NS) / 86_400
    return f"ends in {max(0, int(left_days))} day(s), on {certificate['notAfter']}" if left_days < WARN_DAYS else ""
