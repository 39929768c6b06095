# SPDX-License-Identifier: Apache-2.0
"""What is in the cache of bundles, and the commands that show it."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest
from bpfctl import bundle
from bpfctl.bundle import pack, resolve
from bpfctl.bundle.pack import Content
from bpfctl.cli.root import run

MANIFEST = b"""{"format": 1, "name": "bpfd", "version": "1.0", "files": {"a": "0"},
"components": [{"name": "libc6", "version": "2", "file": "libc6.deb",
"licenses": ["licenses/x"]}]}"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path))
    return tmp_path / "bundles"


def _put(cache: Path, key: str, arch: str, used: int) -> Path:
    data = gzip.compress(pack.archive({"manifest.json": Content(MANIFEST)}))
    path = cache / key / f"bpfd-1.0-{arch}.tar.gz"
    sha256 = pack.write(data, path)
    pack.write(sha256.encode(), cache / key / "sha256")
    os.utime(cache / key, (used, used))
    return path


def test_bundles_are_listed_those_used_last_first(cache: Path) -> None:
    _put(cache, "old", "arm64", 1)
    new = _put(cache, "new", "armhf", 2)
    found = bundle.built()
    assert [each.arch for each in found] == ["armhf", "arm64"]
    assert found[0] == bundle.Bundle(
        new, hashlib.sha256(new.read_bytes()).hexdigest(), "armhf", "1.0", new.stat().st_size
    )


def test_a_damaged_bundle_is_none(cache: Path) -> None:
    path = _put(cache, "one", "arm64", 1)
    path.write_bytes(path.read_bytes()[:-1])
    assert bundle.built() == []


def test_list_and_show(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bundle", "list", "-o", "json"]) == 0
    assert capfd.readouterr().out.strip() == "[]"
    path = _put(cache, "one", "arm64", 1)
    assert run(["bundle", "list"]) == 0
    assert f"{path.stat().st_size}" in capfd.readouterr().out
    for subject in ("arm64", str(path)):
        assert run(["bundle", "show", subject]) == 0
        out = capfd.readouterr().out
        assert "libc6.deb" in out
        assert "files    1" in out
    assert run(["bundle", "show", "arm64", "-o", "json"]) == 0
    assert '"components"' in capfd.readouterr().out


def test_what_is_not_there(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bundle", "show", "arm64"]) == 4
    assert "bundle build --arch" in capfd.readouterr().err
    assert run(["bundle", "build", "--arch", "mips"]) == 1
    assert "no bundle for 'mips'; architectures: amd64" in capfd.readouterr().err


def test_the_key_covers_the_daemon_the_recipe_and_the_lists(tmp_path: Path) -> None:
    package = tmp_path / "bpfd"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "1.2"\n')
    what = bundle.recipe.load()
    arm64, armhf = what.architecture("arm64"), what.architecture("armhf")

    def key(lists: str = "monday") -> str:
        return resolve.key(what, arm64, resolve.Daemon(package), lists)

    first = key()
    assert key() == first
    assert key("tuesday") != first
    assert resolve.key(what, armhf, resolve.Daemon(package), "monday") != first
    assert resolve.Daemon(package).version == "1.2"
    (package / "more.py").touch()
    assert key() != first


def test_the_daemon_of_this_installation() -> None:
    import bpfd

    own = resolve.daemon()
    assert own.version == bpfd.__version__
    assert own.folder == Path(bpfd.__file__).parent
    assert [each.name for each in own.licenses] == ["Apache-2.0.txt", "GPL-2.0-only.txt"]
