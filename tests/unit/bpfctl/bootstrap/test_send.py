# SPDX-License-Identifier: Apache-2.0
"""Uploads into a folder of this machine, by the scripts that run on targets."""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
from bpfctl.bootstrap import scripts
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.facts import Home, learn
from bpfctl.bootstrap.send import Cut, send
from bpfctl.bootstrap.source import Source, from_file
from bpfctl.errors import InvalidArgument
from bpfctl.progress import silent

from tests.unit.bpfctl.bootstrap.local_shell import LocalShell, pack

LAUNCHER = f"""#!/bin/sh
[ "$1" = --python ] && shift && exec {sys.executable} "$@"
echo "$@"
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Source:
    """One of half a MiB that cannot be compressed."""
    files = {"bpfd": LAUNCHER.encode(), "lib/noise": os.urandom(512 << 10)}
    return from_file(pack(tmp_path / "bundle.tar.gz", files))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder that is not there yet, in one that is not either."""
    return tmp_path / "far" / "home"


def send_to(shell: LocalShell, home: Path, source: Source, streamed: bool = False) -> int:
    """As `up` does: what is there is looked at first."""
    found = learn(shell, str(home), ()).home(str(home)) or Home(str(home))
    return send(shell, found, source, streamed=streamed, progress=silent)


def whole(home: Path, source: Source) -> bool:
    top = home / "bundles" / source.sha256
    assert (top / "sha").read_text() == f"{source.sha256}\n"
    assert os.listdir(home / "upload") == []
    assert os.listdir(home / "bundles") == [source.sha256]
    return (top / "bpfd" / "lib" / "noise").stat().st_size == 512 << 10


@pytest.mark.parametrize("streamed", [False, True])
def test_it_arrives_and_is_not_sent_again(home: Path, bundle: Source, streamed: bool) -> None:
    shell = LocalShell()
    assert send_to(shell, home, bundle, streamed) == bundle.packed
    assert whole(home, bundle)
    assert home.stat().st_mode & 0o077 == 0
    assert (home / "made").read_text() == f"{home.parent}\n{home}\n"
    assert send_to(shell, home, bundle) == 0


def test_it_goes_on_where_it_was_cut(home: Path, bundle: Source) -> None:
    shell = LocalShell()
    shell.break_after = 256 << 10
    with pytest.raises(Cut) as cut:
        send_to(shell, home, bundle)
    assert cut.value.sent >= 128 << 10
    (part,) = (home / "upload").iterdir()
    there = part.stat().st_size
    assert there >= 256 << 10
    assert send_to(shell, home, bundle) == bundle.packed - there
    assert whole(home, bundle)


def test_a_cut_stream_leaves_nothing_half(home: Path, bundle: Source) -> None:
    shell = LocalShell()
    shell.break_after = 256 << 10
    with pytest.raises(Cut):
        send_to(shell, home, bundle, streamed=True)
    assert os.listdir(home / "bundles") == []
    assert send_to(shell, home, bundle, streamed=True) == bundle.packed
    assert whole(home, bundle)


@pytest.mark.parametrize("size", [1000, 10 << 20])
def test_what_is_there_and_wrong_is_sent_anew(home: Path, bundle: Source, size: int) -> None:
    shell = LocalShell()
    scripts.run(shell, "prepare", str(home))
    (home / "upload" / f"{bundle.sha256}.old").write_bytes(bytes(size))
    assert send_to(shell, home, bundle) == bundle.packed
    assert whole(home, bundle)


@pytest.fixture
def no_hash(tmp_path: Path) -> Path:
    """A folder of tools in which sha256sum does not work."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sha256sum").symlink_to("/bin/false")
    return tools


def test_wrong_bytes_without_a_tool_for_hashes(
    home: Path, bundle: Source, no_hash: Path
) -> None:
    """gzip's checksum finds them; all is sent once more by the next command."""
    shell = LocalShell(no_hash)
    scripts.run(shell, "prepare", str(home))
    (home / "upload" / f"{bundle.sha256}.old").write_bytes(bytes(1000))
    with pytest.raises(BootstrapFailed, match="cannot be unpacked"):
        send_to(shell, home, bundle)
    assert not home.parent.exists()
    assert send_to(shell, home, bundle) == bundle.packed
    assert whole(home, bundle)


def test_the_manifest_is_compared_without_one(
    home: Path, tmp_path: Path, no_hash: Path
) -> None:
    files = {"bpfd": LAUNCHER.encode(), "lib/a": b"a"}
    wrong = dict.fromkeys(("bpfd", "lib/a"), hashlib.sha256(b"other").hexdigest())
    bundle = from_file(pack(tmp_path / "wrong.tar.gz", files, listed=wrong))
    with pytest.raises(BootstrapFailed, match="arrived damaged: bpfd is damaged"):
        send_to(LocalShell(no_hash), home, bundle)
    assert not home.parent.exists()


def test_another_upload_is_waited_for(home: Path, bundle: Source) -> None:
    """One that grows belongs to somebody; when the bundle is there, nothing is sent."""
    shell = LocalShell()
    scripts.run(shell, "prepare", str(home))
    data = bundle.path.read_bytes()
    theirs = home / "upload" / f"{bundle.sha256}.theirs"
    theirs.write_bytes(b"")

    def grow() -> None:
        with theirs.open("ab") as file:
            for start in range(0, len(data), len(data) // 20):
                file.write(data[start : start + len(data) // 20])
                file.flush()
                time.sleep(0.1)
        scripts.run(LocalShell(), "unpack", str(home), bundle.sha256, theirs.name, "file")

    other = threading.Thread(target=grow)
    other.start()
    sent = send_to(shell, home, bundle)
    other.join()
    assert sent == 0
    assert whole(home, bundle)


def test_a_folder_that_cannot_be_made(bundle: Source) -> None:
    with pytest.raises(BootstrapFailed, match="/proc/nowhere/home cannot be made"):
        send_to(LocalShell(), Path("/proc/nowhere/home"), bundle)


def test_a_bundle_without_a_daemon(home: Path, tmp_path: Path) -> None:
    empty = from_file(pack(tmp_path / "empty.tar.gz", {"other": b""}))
    with pytest.raises(BootstrapFailed, match="cannot be unpacked"):
        send_to(LocalShell(), home, empty)
    assert not home.parent.exists()


def test_files_that_are_no_bundle(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"", b"text", b"\x1f\x8b\x08\x00broken"):
        path.write_bytes(data)
        with pytest.raises(InvalidArgument, match="not a bundle"):
            from_file(path)
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(InvalidArgument, match=r"no bpfd/manifest.json"):
        from_file(path)
