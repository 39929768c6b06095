# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.facts import learn, parse
from bpfctl.bootstrap.shell import Completed

from tests.unit.bpfctl.bootstrap.local_shell import LocalShell

PROBED = """\
machine armv7l
boot 1b4e28ba-2fa1-11d2-883f-0016d3cca427
uid 0
capabilities 000001ffffffffff
memory 61328
cpu Features\t: half thumb neon vfpv4
mount rootfs /
mount proc /proc
mount tmpfs /data
mount ext4 /data/local
login /root
installed /usr/bin/bpfd
home /data/bpfd
bundle aa
bundle bb
current aa
part cc.1234 4096
daemon 77
started 1b4e28ba-2fa1-11d2-883f-0016d3cca427
place 0 good
space 0 tmpfs 70840 30516 40324 43% /data
place 1 noexec
space 1 /dev/mmc blk0p3 1000 900 -5 101% /data/local
place 2 read-only
space 2 df: nothing
place 3 absent
"""


def test_what_the_script_says() -> None:
    candidates = ("/data/bpfd", "/data/local/x", "~/.bpfd", "/opt/bpfd")
    facts = parse(PROBED, candidates)
    assert facts.machine == "armv7l"
    assert facts.privileged
    assert facts.memory == 61328 * 1024
    assert facts.cpu == {"half", "thumb", "neon", "vfpv4"}
    assert facts.installed == "/usr/bin/bpfd"
    assert [place.path for place in facts.places] == [
        "/data/bpfd",
        "/data/local/x",
        "/root/.bpfd",
        "/opt/bpfd",
    ]
    assert [place.verdict for place in facts.places] == [
        "good",
        "noexec",
        "read-only",
        "absent",
    ]
    assert [place.free for place in facts.places] == [40324 * 1024, 0, None, None]
    assert [place.in_memory for place in facts.places] == [True, False, True, True]
    home = facts.home("/data/bpfd")
    assert home is not None
    assert home.bundles == ["aa", "bb"]
    assert home.current == "aa"
    assert home.uploads == {"cc.1234": 4096}
    assert home.pid == 77
    assert home.boot == facts.boot
    assert facts.home("/elsewhere") is None


@pytest.mark.parametrize(
    ("capabilities", "enough"),
    [("0", False), ("0000008000000000", True), ("0000000000200000", True), ("1", False)],
)
def test_who_may_use_bpf(capabilities: str, enough: bool) -> None:
    assert parse(f"capabilities {capabilities}\n", ()).privileged is enough


def test_this_machine(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "file").touch()
    candidates = (
        f"{tmp_path}/new",
        f"{tmp_path}/there",
        f"{tmp_path}/files",
        f"{tmp_path}/a/b",
        "~/.bpfd",
    )
    shell = LocalShell(home=tmp_path)
    facts = learn(shell, "", candidates)
    assert facts.machine == os.uname().machine
    assert facts.uid == os.geteuid()
    assert facts.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts.memory
    verdicts = [place.verdict for place in facts.places]
    assert verdicts == ["good", "good", "occupied", "absent", "good"]
    assert facts.places[4].path == f"{tmp_path}/.bpfd"
    assert all(place.free for place in facts.places[:2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "there"]
    facts = learn(shell, "", candidates, make_parents=True)
    assert facts.places[3].verdict == "good"
    assert facts.homes == []


def test_a_home_is_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "bundles" / "aa").mkdir(parents=True)
    (home / "bundles" / "aa" / "sha").write_text("aa\n")
    (home / "bundles" / "half").mkdir()
    (home / "upload").mkdir()
    (home / "upload" / "bb.1").write_bytes(bytes(1234))
    (home / "current").symlink_to("bundles/aa")
    (home / "made").touch()
    for expected in (str(home), ""):
        (found,) = learn(LocalShell(), expected, (str(home), "/nowhere/x")).homes
        assert found.path == str(home)
        assert found.bundles == ["aa"]
        assert found.current == "aa"
        assert found.uploads == {"bb.1": 1234}
        assert found.pid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
def test_what_others_have_put_there_is_no_home(tmp_path: Path) -> None:
    """In /tmp anybody can make a folder of that name."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "made").touch()
    os.chown(home, 65534, 65534)
    facts = learn(LocalShell(), str(home), (str(home),))
    assert facts.homes == []
    assert [place.verdict for place in facts.places] == ["foreign"]


def test_a_shell_that_does_not_work(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    shell = LocalShell(tools)
    shell.environment["PATH"] = "/nowhere"
    facts = learn(shell, "", ())
    assert facts.machine == ""
    with pytest.raises(BootstrapFailed, match="its shell does not work"):
        learn(_Failing(), "", ())


class _Failing(LocalShell):
    def run(
        self, script: str, stdin: bytes | Iterable[bytes] = b"", *, timeout: float = 60
    ) -> Completed:
        return super().run("echo no shell for you >&2; exit 3")
