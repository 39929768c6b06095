# SPDX-License-Identifier: Apache-2.0
"""The scripts themselves: sound, and without what a small target may lack."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bpfctl.bootstrap import scripts
from bpfctl.bootstrap.facts import Home, learn
from bpfctl.bootstrap.send import send
from bpfctl.bootstrap.source import from_file
from bpfctl.progress import silent

from tests.unit.bpfctl.bootstrap.local_shell import LocalShell, pack

NAMES = sorted(path.stem for path in (Path(scripts.__file__).parent / "scripts").glob("*.sh"))

SHELLS = [name for name in ("dash", "bash", "mksh", "busybox") if shutil.which(name)]

TOOLS = (
    *("cat", "chmod", "df", "gzip", "ln", "ls", "mkdir", "mv", "rm", "rmdir", "sleep", "tar"),
    "uname",
)
"""Programs that are wherever tar and gzip are."""


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", NAMES)
def test_every_shell_reads_them(name: str, shell: str) -> None:
    words = ["busybox", "sh"] if shell == "busybox" else [shell]
    done = subprocess.run([*words, "-n"], input=scripts.text(name, "a", "b c"), text=True)
    assert done.returncode == 0
    assert "<<" not in scripts.text(name), "some shells write here-documents to files"


def test_a_target_with_few_programs(tmp_path: Path) -> None:
    """The way of a bundle from the first look to the last, with tar, gzip and the like."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tools / tool).symlink_to(found)
    shell = LocalShell()
    shell.environment["PATH"] = str(tools)
    home = tmp_path / "home"
    launcher = f'#!/bin/sh\nshift\nexec {sys.executable} "$@"\n'.encode()
    source = from_file(pack(tmp_path / "bundle.tar.gz", {"bpfd": launcher}))
    facts = learn(shell, "", (str(home),))
    assert [place.verdict for place in facts.places] == ["good"]
    assert facts.places[0].free
    send(shell, Home(str(home)), source, streamed=False, progress=silent)
    for name in ("choose", "status", "stop", "discard"):
        done = scripts.run(shell, name, str(home), source.sha256)
        assert (done.status, done.stderr) == (0, b""), name
    (found_home,) = learn(shell, str(home), ()).homes
    assert found_home.current == source.sha256
    assert scripts.run(shell, "purge", str(home)).text == ""
    assert not home.exists()


def test_arguments_are_not_taken_apart(tmp_path: Path) -> None:
    home = tmp_path / "with 'blanks' $HOME"
    done = scripts.run(LocalShell(), "prepare", str(home))
    assert done.status == 0, done.words
    assert sorted(path.name for path in home.iterdir()) == ["bundles", "made", "upload"]


def test_status(tmp_path: Path) -> None:
    home = tmp_path / "home"
    shell = LocalShell()

    def status() -> str:
        return scripts.run(shell, "status", str(home)).text.strip()

    assert status() == "gone"
    scripts.run(shell, "prepare", str(home))
    assert status() == "none"
    launcher = home / "current" / "bpfd" / "bpfd"
    launcher.parent.mkdir(parents=True)
    launcher.touch(mode=0o755)
    assert status() == "rebooted"
    (home / "run").mkdir()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    (home / "run" / "boot").write_text(boot)
    assert status() == "ended"
    (home / "run" / "log").write_text("ready\nOut of luck\n")
    assert status() == "ended Out of luck"
    (home / "run" / "boot").write_text("another\n")
    assert status() == "rebooted"


def test_stop_ends_only_the_daemon_of_the_home(tmp_path: Path) -> None:
    """A number that a reboot has given to another process is left alone."""
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    lock = home / "run" / "bpfd.sock.lock"
    other = subprocess.Popen(["sleep", "60"])
    ours = subprocess.Popen(["sh", "-c", "sleep 60; :", str(home / "run" / "bpfd.sock")])
    try:
        lock.write_text(f"{other.pid}\n")
        assert scripts.run(LocalShell(), "stop", str(home), "50").text == "none\n"
        assert other.poll() is None
        lock.write_text(f"{ours.pid}\n")
        assert scripts.run(LocalShell(), "stop", str(home), "50").text in (
            "stopped\n",
            "killed\n",
        )
        assert ours.wait(10) != 0
    finally:
        for process in (other, ours):
            process.kill()
            process.wait()


def test_choose_keeps_one(tmp_path: Path) -> None:
    for name in ("aa", "bb", "cc"):
        (tmp_path / "bundles" / name).mkdir(parents=True)
    (tmp_path / "upload").mkdir()
    for name in ("aa.1", "bb.1"):
        (tmp_path / "upload" / name).touch()
    shell = LocalShell()
    for chosen in ("bb", "bb"):
        assert scripts.run(shell, "choose", str(tmp_path), chosen).status == 0
        assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["bb"]
        assert [path.name for path in (tmp_path / "upload").iterdir()] == ["bb.1"]
        assert (tmp_path / "current").readlink() == Path("bundles/bb")
