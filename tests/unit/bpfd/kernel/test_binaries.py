# SPDX-License-Identifier: Apache-2.0
"""Where names of binaries are searched, below a folder that stands for a file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bpfd.kernel import binaries


@pytest.fixture
def root(tmp_path: Path) -> str:
    triplet = f"{os.uname().machine}-linux-gnu"
    for path in (f"usr/lib/{triplet}", "usr/lib/m68k-linux-gnu", "usr/bin", "opt/lib", "etc/d"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "etc/ld.so.conf").write_text("include d/*.conf # more\n# /ignored\n")
    (tmp_path / "etc/d/a.conf").write_text("/opt/lib\n")
    for path in (
        f"usr/lib/{triplet}/libc.so.6",
        "usr/lib/m68k-linux-gnu/libc.so.6",
        "opt/lib/libown.so",
        "usr/bin/bash",
    ):
        (tmp_path / path).touch()
    return str(tmp_path)


def test_libraries(root: str) -> None:
    assert binaries.find("libown.so", root) == "/opt/lib/libown.so"
    machine = os.uname().machine
    assert binaries.find("libc.so.6", root) == f"/usr/lib/{machine}-linux-gnu/libc.so.6"
    assert binaries.find("libc.so.7", root) == ""
    assert "libc.so.6" in binaries.names_like("libc.so.7", root)


def test_programs(root: str) -> None:
    assert binaries.find("bash", root) == "/usr/bin/bash"
    assert binaries.find("libown", root) == ""
    assert binaries.names_like("bsh", root) == ["bash"]


def test_links_stay_inside_the_root(root: str) -> None:
    own = f"{root}/opt/lib/libown.so"
    for name, target in {
        "absolute.so": "/opt/lib/libown.so",
        "relative.so": "../../opt/lib/libown.so",
        "up.so": "../../../../../../../../opt/lib/libown.so",
        "twice.so": "/usr/lib/absolute.so",
    }.items():
        os.symlink(target, f"{root}/usr/lib/{name}")
        assert binaries.inside(root, f"/usr/lib/{name}") == own
        assert binaries.find(name, root) == f"/usr/lib/{name}"
    os.symlink("loop.so", f"{root}/usr/lib/loop.so")
    with pytest.raises(OSError, match="Too many levels"):
        binaries.inside(root, "/usr/lib/loop.so")
    assert binaries.find("loop.so", root) == ""
    assert binaries.inside("", "/usr/lib/x.so") == "/usr/lib/x.so"


def test_what_a_process_maps(tmp_path: Path) -> None:
    found = binaries.mapped(os.getpid(), os.path.basename(_own_library()))
    assert found == _own_library()
    assert binaries.mapped(os.getpid(), "libnowhere.so") == ""


def _own_library() -> str:
    with open("/proc/self/maps") as file:
        return next(line.split()[5] for line in file if ".so" in line)
