"""The gateways whose batches are accepted, each with its public key."""

from __future__ import annotations

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from meterline.errors import ConfigError, Problem
from meterline.settings import HeadendSettings, TrustedGateway


def trusted_keys(settings: HeadendSettings) -> dict[str, Ed25519PublicKey]:
    """Gateway -> key.

    Raises
    ------
    ConfigError
        With every key that cannot be read.
    """
    keys: dict[str, Ed25519PublicKey] = {}
    problems: list[Problem] = []
    for index, gateway in enumerate(settings.file.gateways):
        place = f"gateways[{index}]"
        try:
            keys[gateway.id] = _key(settings, gateway)
        except OSError as error:
            problems.append(
                Problem(
                    str(settings.folder / str(gateway.public_key_file)), place, f"public key: {error.strerror}",
                    "copy gateway.pub from the gateway, or run 'meterline gateway --show-key' on it",
                )
            )  # fmt: skip
        except (ValueError, binascii.Error) as error:
            problems.append(
                Problem(
                    "headend.yaml", place, f"the key of {gateway.id} cannot be read: {error}",
                    "it is 32 bytes in base64, as 'meterline gateway --show-key' prints it",
                )
            )  # fmt: skip
    if problems:
        raise ConfigError(problems)
    return keys


def _key(settings: HeadendSettings, gateway: TrustedGateway) -> Ed25519PublicKey:
    text = gateway.public_key
    if text is None:
        text = (settings.folder / str(gateway.public_key_file)).read_text(encoding="utf-8")
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.strip(), validate=True))
