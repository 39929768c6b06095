# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
import pytest
from bpfctl.lab.keys import dropbear_key, keys


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BPFCTL_CONFIG_DIR", str(tmp_path / "config"))


def test_keys_are_private_and_stay() -> None:
    first = keys()
    assert first.identity.stat().st_mode & 0o777 == 0o600
    assert first.identity.parent.stat().st_mode & 0o777 == 0o700
    assert keys() == first
    loaded = paramiko.Ed25519Key.from_private_key_file(str(first.identity))
    assert first.authorized == f"ssh-ed25519 {loaded.get_base64()} bpfctl-lab\n"


def test_who_is_first_makes_them_for_all() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: keys(), range(16)))
    assert len({each.authorized for each in made}) == 1


def test_known_hosts_are_found_by_port() -> None:
    own = keys()
    hosts = paramiko.HostKeys()
    path = own.identity.parent / "hosts"
    path.write_text(own.known_host(40001))
    hosts.load(str(path))
    entry = hosts.lookup("[127.0.0.1]:40001")
    assert entry is not None
    assert entry["ssh-ed25519"].get_base64() == own.host_public.split()[1]
    assert hosts.lookup("[127.0.0.1]:40002") is None


def test_format_of_dropbear() -> None:
    """As `dropbearconvert openssh dropbear` writes the same key."""
    seed, public = bytes(range(32)), bytes(range(32, 64))
    assert dropbear_key(seed, public) == (b"\0\0\0\x0bssh-ed25519\0\0\0\x40" + bytes(range(64)))


def test_host_key_belongs_together() -> None:
    own = keys()
    blob = base64.b64decode(own.host_public.split()[1])
    assert own.host_private[-32:] == blob[-32:]
    assert own.host_private[:15] == blob[:15]
    assert paramiko.Ed25519Key(data=blob).get_name() == "ssh-ed25519"
    assert io.BytesIO(own.host_private).read()[19:51] not in blob
