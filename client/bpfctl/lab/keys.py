# SPDX-License-Identifier: Apache-2.0
"""SSH keys of this user's boards: one to log in with, one that boards show.

They are made when they are first needed and stay in the folder of the user's settings. What
they open listens on this machine's loopback interface alone.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bpfctl.config import config_dir

_KIND = b"ssh-ed25519"


@dataclass(frozen=True)
class Keys:
    """What a board needs of the keys, and where the private key to log in with is."""

    identity: Path
    authorized: str
    """Line of `authorized_keys`."""
    host_public: str
    """Kind and key as `known_hosts` has them."""
    host_private: bytes
    """As dropbear reads it."""

    def known_host(self, port: int) -> str:
        """Line of `known_hosts` for a board at a port of this machine."""
        return f"[127.0.0.1]:{port} {self.host_public}\n"


def keys() -> Keys:
    """This user's keys; makes those that are missing."""
    folder = config_dir() / "lab" / "keys"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        identity, host = folder / "id_ed25519", folder / "host_ed25519"
        login_public, _ = _read_or_make(identity)
        host_public, host_seed = _read_or_make(host)
    return Keys(
        identity,
        f"{_line(login_public)} bpfctl-lab\n",
        _line(host_public),
        dropbear_key(host_seed, host_public),
    )


def dropbear_key(seed: bytes, public: bytes) -> bytes:
    """An Ed25519 key in the format of dropbear's key files (its src/ed25519.c)."""
    return _string(_KIND) + _string(seed + public)


def _line(public: bytes) -> str:
    blob = _string(_KIND) + _string(public)
    return f"{_KIND.decode()} {base64.b64encode(blob).decode()}"


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _read_or_make(path: Path) -> tuple[bytes, bytes]:
    """Public and private bytes of the key in a file."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if path.exists():
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
    else:
        key = Ed25519PrivateKey.generate()
        _write_private(
            path,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            ),
        )
    return key.public_key().public_bytes_raw(), key.private_bytes_raw()


def _write_private(path: Path, data: bytes) -> None:
    """A file for this user alone, whole or not at all."""
    handle, fresh = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(fresh, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
