# SPDX-License-Identifier: Apache-2.0
"""A Debian package of a bundle: the same files in /usr/lib/bpfd, and a service."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from bpfctl import devices

from .errors import BundleError
from .pack import FOLDER, read_manifest

_LIBRARY = "usr/lib"
"""The bundle's folder comes into this one."""

_COMMAND = f'#!/bin/sh\nexec /{_LIBRARY}/{FOLDER}/bpfd "$@"\n'

_CONTROL = """\
Package: bpfd
Version: {version}
Architecture: {arch}
Maintainer: The bpfd project <bpfd@localhost.localdomain>
Installed-Size: {size}
Section: admin
Priority: optional
Description: load, attach and read BPF programs for remote clients
 bpfd is a small daemon on a server, a virtual machine, an embedded board: it
 loads, attaches, reads and replaces BPF programs and maps for bpfctl, which
 compiles them on a workstation.
 .
 Everything the daemon needs is inside, its own C library and Python too:
 nothing but the kernel of the system is used.
"""

_COPYRIGHT = """\
bpfd is under the Apache License 2.0; its BPF programs are under the GNU General
Public License 2. The package holds other works, each under its own licences:
manifest.json in /{library}/{folder} names them all with their licences' texts.

On Debian systems the text of the Apache License 2.0 is in
/usr/share/common-licenses/Apache-2.0, and that of the GNU General Public License
version 2 in /usr/share/common-licenses/GPL-2.
"""

_UNIT = "bpfd.service"
_SYSTEMD = {_UNIT: f"systemd/system/{_UNIT}", "bpfd.sysusers": "sysusers.d/bpfd.conf"}
"""Files of `devices/systemd/`, and their places below `_LIBRARY`."""

# As dh_installsystemd and dh_installsysusers write them.
_SCRIPTS = {
    "postinst": f"""\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
	if command -v systemd-sysusers >/dev/null; then
		systemd-sysusers bpfd.conf || true
	elif command -v groupadd >/dev/null; then
		groupadd --system --force bpfd || true
	fi
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper unmask {_UNIT} >/dev/null || true
		if deb-systemd-helper --quiet was-enabled {_UNIT}; then
			deb-systemd-helper enable {_UNIT} >/dev/null || true
		else
			deb-systemd-helper update-state {_UNIT} >/dev/null || true
		fi
	fi
	if [ -d /run/systemd/system ]; then
		systemctl --system daemon-reload >/dev/null || true
		deb-systemd-invoke restart {_UNIT} >/dev/null || true
	fi
fi
""",
    "prerm": f"""\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	deb-systemd-invoke stop {_UNIT} >/dev/null || true
fi
""",
    "postrm": f"""\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = purge ]; then
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge {_UNIT} >/dev/null || true
		deb-systemd-helper unmask {_UNIT} >/dev/null || true
	fi
	rm -rf /run/bpfd
fi
""",
}


def name(version: str, arch: str) -> str:
    """What the package's file is called."""
    return f"bpfd_{version}_{arch}.deb"


def build(bundle: Path, target: Path) -> None:
    """Writes a package with a bundle's files. Raises BundleError.

    The same bundle gives the same bytes: with dpkg-deb's version, as it compresses.
    """
    if shutil.which("dpkg-deb") is None:
        raise BundleError(
            "Debian packages are written by dpkg-deb, and there is none",
            "on Debian and Ubuntu it is part of dpkg",
        )
    manifest = read_manifest(bundle)
    with tempfile.TemporaryDirectory(prefix="bpfctl-deb-") as work:
        root = Path(work) / "root"
        _fill(root, bundle)
        _describe(root, manifest["version"], manifest["architecture"])
        done = subprocess.run(
            [
                *("dpkg-deb", "--root-owner-group", "-Zxz", "--threads-max=1"),
                *("--build", root, target),
            ],
            capture_output=True,
            text=True,
            env={**os.environ, "SOURCE_DATE_EPOCH": "0", "LC_ALL": "C"},
        )
        if done.returncode:
            raise BundleError(f"dpkg-deb: {done.stderr.strip() or 'no reason given'}")


def _fill(root: Path, bundle: Path) -> None:
    library = root / _LIBRARY
    with tarfile.open(bundle) as tar:
        for entry in tar:
            file = tar.extractfile(entry) if entry.isfile() else None
            if file is not None:
                _put(library / entry.name, file.read(), entry.mode)
    _put(root / "usr/bin/bpfd", _COMMAND.encode(), 0o755)
    for source, target in _SYSTEMD.items():
        _put(library / target, devices.folder("systemd", source).read_bytes())
    text = _COPYRIGHT.format(library=_LIBRARY, folder=FOLDER)
    _put(root / "usr/share/doc/bpfd/copyright", text.encode())


def _describe(root: Path, version: str, arch: str) -> None:
    """DEBIAN/: what dpkg knows of the package."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    sums = "".join(
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"
        f"  {path.relative_to(root)}\n"
        for path in files
    )
    size = sum((path.stat().st_size + 1023) // 1024 for path in files)
    control = _CONTROL.format(version=version, arch=arch, size=size)
    _put(root / "DEBIAN/control", control.encode())
    _put(root / "DEBIAN/md5sums", sums.encode())
    for script, text in _SCRIPTS.items():
        _put(root / "DEBIAN" / script, text.encode(), 0o755)
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


def _put(path: Path, data: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
