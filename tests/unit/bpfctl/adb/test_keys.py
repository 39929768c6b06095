# SPDX-License-Identifier: Apache-2.0
"""This user's key, as adb makes and keeps it."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
from bpfctl.adb import keys
from bpfctl.adb.device import AdbError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, utils

from tests.unit.bpfctl.adb.fake_adbd import trusted_key


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ANDROID_USER_HOME", raising=False)
    monkeypatch.delenv("ADB_VENDOR_KEYS", raising=False)
    return tmp_path / ".android"


def test_a_key_is_made_once(folder: Path) -> None:
    (first,) = keys.signers()
    assert sorted(path.name for path in folder.iterdir()) == ["adbkey", "adbkey.pub"]
    assert folder.stat().st_mode & 0o777 == 0o750
    assert (folder / "adbkey").stat().st_mode & 0o777 == 0o600
    (second,) = keys.signers()
    assert first.GetPublicKey() == second.GetPublicKey()
    token = hashlib.sha1(b"token").digest()
    digest = utils.Prehashed(hashes.SHA1())
    key = trusted_key(folder / "adbkey.pub")
    key.verify(first.Sign(token), token, padding.PKCS1v15(), digest)


def test_public_half_is_made_again(folder: Path) -> None:
    (first,) = keys.signers()
    (folder / "adbkey.pub").unlink()
    (second,) = keys.signers()
    assert first.GetPublicKey().split()[0] == second.GetPublicKey().split()[0]


def test_two_make_one_at_the_same_time(folder: Path) -> None:
    threads = [threading.Thread(target=keys.signers) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in folder.iterdir()) == ["adbkey", "adbkey.pub"]
    (signer,) = keys.signers()
    token = hashlib.sha1(b"token").digest()
    trusted_key(folder / "adbkey.pub").verify(
        signer.Sign(token), token, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1())
    )


def test_what_is_no_key(folder: Path) -> None:
    folder.mkdir()
    (folder / "adbkey").write_text("not a key")
    (folder / "adbkey.pub").write_text("nor this")
    with pytest.raises(AdbError, match="adbkey is not a private key"):
        keys.signers()


def test_folder_that_cannot_be_made(folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(AdbError, match="the key"):
        keys.signers()
