"""The device's key is made once, kept private, and never replaced behind the head-end's back."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from gateway_firmware_py.files import DiskFiles
from gateway_firmware_py.keys import device_key, public_text
from meterline.errors import ConfigError


def test_made_once_private_with_the_public_half_beside_it(tmp_path: Path) -> None:
    key = device_key(DiskFiles(), tmp_path / "data")
    again = device_key(DiskFiles(), tmp_path / "data")
    assert public_text(key) == public_text(again)
    assert (tmp_path / "data" / "gateway.key").stat().st_mode & 0o777 == 0o600
    written = (tmp_path / "data" / "gateway.pub").read_text().strip()
    assert written == public_text(key)
    assert base64.b64decode(written) == key.public_key().public_bytes_raw()


def test_a_lost_public_file_is_written_again(tmp_path: Path) -> None:
    key = device_key(DiskFiles(), tmp_path)
    (tmp_path / "gateway.pub").write_text("nonsense")
    device_key(DiskFiles(), tmp_path)
    assert (tmp_path / "gateway.pub").read_text().strip() == public_text(key)


def test_a_damaged_key_is_an_error_and_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "gateway.key").write_bytes(b"-----BEGIN garbage")
    with pytest.raises(ConfigError, match="backup"):
        device_key(DiskFiles(), tmp_path)
    assert (tmp_path / "gateway.key").read_bytes() == b"-----BEGIN garbage"
