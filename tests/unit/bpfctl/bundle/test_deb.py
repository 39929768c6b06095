# SPDX-License-Identifier: Apache-2.0
"""A Debian package of a bundle holds its files, a service, and says what it is."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from bpfctl import devices
from bpfctl.bundle import BundleError, deb, pack
from bpfctl.bundle.pack import Content

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.tar.gz"
    manifest = {"version": "1.2.3", "architecture": "arm64"}
    contents = {
        "manifest.json": Content(json.dumps(manifest).encode()),
        "bpfd": Content(b'#!/bin/sh\necho started with "$@"\n', executable=True),
        "lib/library": Content(bytes(5000)),
    }
    path.write_bytes(gzip.compress(pack.archive(contents)))
    return path


def _field(package: Path, name: str) -> str:
    done = subprocess.run(
        ["dpkg-deb", "--field", package, name], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@needs_dpkg
def test_the_package(bundle: Path, tmp_path: Path) -> None:
    package = tmp_path / deb.name("1.2.3", "arm64")
    deb.build(bundle, package)
    assert package.name == "bpfd_1.2.3_arm64.deb"
    assert [_field(package, name) for name in ("Package", "Version", "Architecture")] == [
        *("bpfd", "1.2.3", "arm64")
    ]
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "--raw-extract", package, root], check=True)
    assert (root / "usr/lib/bpfd/lib/library").read_bytes() == bytes(5000)
    assert (root / "usr/lib/bpfd/bpfd").stat().st_mode & 0o777 == 0o755
    unit = root / "usr/lib/systemd/system/bpfd.service"
    assert unit.read_bytes() == devices.folder("systemd", "bpfd.service").read_bytes()
    assert (root / "usr/lib/sysusers.d/bpfd.conf").exists()
    checked = subprocess.run(
        ["md5sum", "--check", "--quiet", "DEBIAN/md5sums"], cwd=root, check=False
    )
    assert checked.returncode == 0
    for script in ("postinst", "prerm", "postrm"):
        subprocess.run(["sh", "-n", root / "DEBIAN" / script], check=True)


@needs_dpkg
def test_everything_is_roots_and_from_1970(bundle: Path, tmp_path: Path) -> None:
    deb.build(bundle, tmp_path / "a.deb")
    listed = subprocess.run(
        ["dpkg-deb", "--contents", tmp_path / "a.deb"],
        capture_output=True,
        text=True,
        check=True,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
    ).stdout
    assert listed.count("root/root") == listed.count("1970-01-01 00:00")
    assert listed.count("root/root") == len(listed.splitlines())


@needs_dpkg
def test_the_same_bundle_gives_the_same_package(bundle: Path, tmp_path: Path) -> None:
    deb.build(bundle, tmp_path / "a.deb")
    deb.build(bundle, tmp_path / "b.deb")
    assert (tmp_path / "a.deb").read_bytes() == (tmp_path / "b.deb").read_bytes()


def test_without_dpkg_it_says_so(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BundleError, match="written by dpkg-deb, and there is none"):
        deb.build(bundle, tmp_path / "a.deb")


@needs_dpkg
def test_where_it_cannot_be_written(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="dpkg-deb: "):
        deb.build(bundle, tmp_path / "none" / "a.deb")
