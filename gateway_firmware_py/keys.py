"""The gateway's Ed25519 key: made on the device, never leaves it."""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from gateway_firmware_py.files import Files
from meterline.errors import ConfigError, Problem

KEY_FILE = "gateway.key"
PUBLIC_FILE = "gateway.pub"


def device_key(files: Files, folder: Path) -> Ed25519PrivateKey:
    """The key under `folder`, made there (mode 600, the public half beside it) if there is none.

    Raises
    ------
    ConfigError
        A key file is there and cannot be used; a new one is not made over it, since the head-end trusts the old one.
    """
    path = folder / KEY_FILE
    if files.exists(path):
        try:
            key = load_pem_private_key(files.read(path), password=None)
        except (ValueError, TypeError) as error:
            raise ConfigError([_unusable(path, str(error))]) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError([_unusable(path, "not an Ed25519 key")])
    else:
        files.make_folder(folder)
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files.write_whole(path, pem, private=True)
    public = folder / PUBLIC_FILE
    text = public_text(key)
    if not files.exists(public) or files.read(public).decode("ascii", "replace").strip() != text:
        files.write_whole(public, text.encode() + b"\n")
    return key


def public_text(key: Ed25519PrivateKey) -> str:
    """The public half as the head-end's file wants it: 32 bytes in base64."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def _unusable(path: Path, why: str) -> Problem:
    return Problem(
        str(path), "", f"cannot be read as the gateway's key ({why[:80]})",
        "put the backup back, or move the file away and register the new key that is made at the next start",
    )  # fmt: skip
