# SPDX-License-Identifier: Apache-2.0
"""The scripts find their folder from anywhere, and hand on what they were given."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from bpfctl.bundle import launcher

SHELLS = [shell for shell in ("dash", "bash", "mksh", "busybox") if shutil.which(shell)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle whose loader writes down how it was started."""
    folder = tmp_path / "a folder" / "bpfd"
    (folder / "bin").mkdir(parents=True)
    for name, text in (
        ("bpfd", launcher.daemon("3.13")),
        ("bin/python3", launcher.python("3.13")),
        ("bin/bpfd", b'#!/bin/sh\npwd\nfor each; do echo "$each"; done\nenv\n'),
    ):
        (folder / name).write_bytes(text)
        (folder / name).chmod(0o755)
    return folder


def _expected(folder: Path, cwd: Path, *arguments: str) -> list[str]:
    return [
        *(str(cwd), "--inhibit-cache", "--library-path", f"{folder}/lib"),
        *("--argv0", f"{folder}/bin/python3", f"{folder}/bin/python3.13", *arguments),
    ]


@pytest.mark.parametrize("shell", SHELLS)
def test_from_anywhere(folder: Path, shell: str) -> None:
    arguments = ["serve", "--socket", "a b", "*"]
    own = ["-I", "-S", "-B", "-X", "utf8", "-m", "bpfd"]
    sh = [shell, "sh"] if shell == "busybox" else [shell]
    for cwd, path in (
        (Path("/"), str(folder / "bpfd")),
        (folder.parent, "bpfd/bpfd"),
        (folder, "./bpfd"),
        (folder, "bpfd"),
        (folder / "bin", "../bpfd"),
    ):
        done = subprocess.run(
            [*sh, path, *arguments], cwd=cwd, capture_output=True, text=True, check=True
        )
        expected = _expected(folder, cwd, *own, *arguments)
        assert done.stdout.splitlines()[: len(expected)] == expected


def test_nothing_is_added_to_the_environment(folder: Path) -> None:
    given = {
        "LD_PRELOAD": "",
        "LD_LIBRARY_PATH": "/opt/lib",
        "LD_AUDIT": "",
        "CDPATH": "/usr",
        "HOME": "/",
        "PATH": os.defpath,
    }
    done = subprocess.run(
        ["./bpfd"], cwd=folder, capture_output=True, text=True, check=True, env=given
    )
    names = {line.partition("=")[0] for line in done.stdout.splitlines() if "=" in line}
    # PWD and _ are made by the shell that plays the loader.
    assert names - {"PWD", "_", "OLDPWD", "SHLVL"} == {"CDPATH", "HOME", "PATH"}


def test_its_python_is_started_with_what_follows(folder: Path) -> None:
    done = subprocess.run(
        [folder / "bpfd", "--python", "-c", "pass"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    expected = _expected(folder, Path("/"), "-S", "-s", "-B", "-X", "utf8", "-c", "pass")
    assert done.stdout.splitlines()[: len(expected)] == expected
