# SPDX-License-Identifier: Apache-2.0
"""The keys by which a device knows this computer, where adb keeps them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bpfctl.adb.device import AdbError

if TYPE_CHECKING:
    from adb_shell.auth.sign_cryptography import CryptographySigner


def key_path() -> Path:
    """This user's private key; it need not exist."""
    folder = os.environ.get("ANDROID_USER_HOME")
    return (Path(folder) if folder else Path.home() / ".android") / "adbkey"


def signers() -> list[CryptographySigner]:
    """This user's key first, made when there is none, then those of ADB_VENDOR_KEYS.

    Raises AdbError for a key that cannot be made or read.
    """
    from adb_shell.auth.keygen import write_public_keyfile
    from adb_shell.auth.sign_cryptography import CryptographySigner

    own = key_path()
    try:
        if not own.exists():
            _make(own)
        if not Path(f"{own}.pub").exists():
            write_public_keyfile(str(own), f"{own}.pub")
        return [CryptographySigner(str(path)) for path in (own, *_vendor_keys())]
    except OSError as error:
        reason = error.strerror or str(error)
        raise AdbError(f"the key {error.filename or own}: {reason}") from None
    except ValueError as error:
        raise AdbError(f"{own} is not a private key: {error}") from None


def _vendor_keys() -> list[Path]:
    found: list[Path] = []
    for entry in os.environ.get("ADB_VENDOR_KEYS", "").split(os.pathsep):
        path = Path(entry)
        if entry and path.is_dir():
            found += sorted(path.glob("*.adb_key"))
        elif entry:
            found.append(path)
    return [path for path in found if path.with_name(f"{path.name}.pub").exists()]


def _make(path: Path) -> None:
    """A key of 2048 bits for this user alone; who makes one at the same time wins."""
    from adb_shell.auth.keygen import keygen

    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="adbkey.") as folder:
        fresh = Path(folder) / path.name
        keygen(str(fresh))
        fresh.chmod(0o600)
        public = Path(f"{fresh}.pub")
        public.chmod(0o644)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
            os.replace(public, f"{path}.pub")
