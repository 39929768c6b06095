# SPDX-License-Identifier: Apache-2.0
"""`target up|down|upgrade|purge` with a real bundle over a real sshd."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel import bundles, hooks_support
from tests.kernel.api import eventually
from tests.kernel.bundles import Small
from tests.kernel.command_line import finish
from tests.kernel.far import SSHD, Far, far_machine
from tests.kernel.relay import Relay, relay

pytestmark = pytest.mark.skipif(SSHD is None, reason="needs sshd (Debian: openssh-server)")


@pytest.fixture(scope="session")
def real_bundle() -> Path:
    """The bundle of this checkout."""
    return bundles.real()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one."""
    return bundles.small(tmp_path_factory.mktemp("bundle") / "small.tar.gz")


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """Makes small bundles that differ from it in some files."""
    return lambda name, changed: bundles.small(tmp_path / f"{name}.tar.gz", changed)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    """A machine on which nothing of bpfd is; afterwards no daemon of it runs."""
    with far_machine(tmp_path) as found:
        yield found


def up(far: Far, bundle: Path, *more: str) -> str:
    return far.line.run("target", "up", "far", "--bundle", bundle, *more).ok()


def home_of(far: Far) -> str:
    text = (far.folder / "config" / "targets.toml").read_text()
    found = re.search(r'^home = "(.*)"$', text, re.MULTILINE)
    return found.group(1) if found else ""


def test_up_down_and_purge_leave_nothing(far: Far, real_bundle: Path) -> None:
    before = far.listing()
    said = up(far, real_bundle)
    assert "has been started (/var/lib/bpfd, " in said
    assert " MB sent)" in said
    assert home_of(far) == "/var/lib/bpfd"
    assert len(far.daemons()) == 1
    assert "daemon_version" in far.line.run("target", "info", "far").ok()
    pid = far.daemons()
    assert "runs already (/var/lib/bpfd)" in far.line.run("target", "up", "far").ok()
    assert far.daemons() == pid
    assert far.line.run("target", "down", "far").ok() == "far: the daemon is stopped\n"
    assert far.daemons() == []
    assert "was not running" in far.line.run("target", "down", "far").ok()
    done = far.line.run("-t", "far", "object", "list")
    done.refused(5, "the daemon is not running", "`bpfctl target up far`")
    said = up(far, real_bundle)
    assert "has been started (/var/lib/bpfd)" in said, "it was sent again"
    assert (
        "nothing of bpfd is left (/var/lib/bpfd" in far.line.run("target", "purge", "far").ok()
    )
    assert far.listing() == before
    assert far.daemons() == []
    assert home_of(far) == ""
    far.line.run("target", "purge", "far").refused(4, "no daemon of ours", "target up")
    far.line.run("target", "down", "far").refused(4, "no daemon of ours")


def test_what_is_pinned_stays_until_the_purge(far: Far, bundle: Path) -> None:
    before = far.listing()
    (far.folder / "hooks.o").write_bytes(hooks_support.compiled())
    up(far, bundle)
    with interfaces() as (near, _):
        far.line.run("-t", "far", "load", "hooks.o").ok()
        far.line.run("-t", "far", "attach", "hooks/xdp_count", f"xdp:{near}").ok()
        said = far.line.run("target", "down", "far").ok()
        assert "1 object stays as it is: hooks;" in said
        assert "xdp" in link(near)
        said = far.line.run("target", "purge", "far").ok()
        assert "removed 1 objects, 1 links, 0 pins of maps" in said
        assert "xdp" not in link(near)
    assert far.listing() == before


def test_purge_of_a_daemon_that_was_killed_and_cannot_start(far: Far, bundle: Path) -> None:
    before = far.listing()
    (far.folder / "hooks.o").write_bytes(hooks_support.compiled())
    up(far, bundle)
    with interfaces() as (near, _):
        far.line.run("-t", "far", "load", "hooks.o").ok()
        far.line.run("-t", "far", "attach", "hooks/xdp_count", f"xdp:{near}").ok()
        for pid in far.daemons():
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: not far.daemons())
        far.sh("rm /var/lib/bpfd/current/bpfd/bpfd")
        assert "xdp" in link(near)
        far.line.run("target", "purge", "far").ok()
        assert eventually(lambda: "xdp" not in link(near))
    assert far.listing() == before


def test_a_killed_daemon_and_a_reboot_are_told_apart(far: Far, bundle: Path) -> None:
    up(far, bundle)
    for pid in far.daemons():
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not far.daemons())
    done = far.line.run("-t", "far", "object", "list")
    done.refused(5, "the daemon is not running", "`bpfctl target up far` starts it")
    far.sh("echo another >/var/lib/bpfd/run/boot; echo old >/var/lib/bpfd/state/old")
    done = far.line.run("-t", "far", "object", "list")
    done.refused(5, "has been restarted", "`bpfctl target up far` starts it")
    up(far, bundle)
    assert far.sh("cat /var/lib/bpfd/state/old 2>&1 || true").endswith(
        "No such file or directory\n"
    )
    far.line.run("target", "down", "far").ok()
    far.sh("rm -r /var/lib/bpfd")
    done = far.line.run("-t", "far", "object", "list")
    done.refused(5, "there is no /var/lib/bpfd any more", "puts the daemon there again")
    assert "MB sent" in up(far, bundle)


def through(far: Far, found: Relay) -> None:
    """Lets the target be reached through a relay."""
    known = far.home / ".ssh" / "known_hosts"
    known.write_text(known.read_text() + f"[127.0.0.1]:{found.port} {far.host_key}\n")
    address = f"root@127.0.0.1:{found.port}"
    far.line.run("target", "add", "far", "--ssh", address, "--replace").ok()


def test_an_upload_goes_on_where_it_was_cut(far: Far, bundle: Path) -> None:
    """Twice in one command; in all hardly more than the bundle is sent."""
    size = bundle.stat().st_size
    with relay(far.port) as found:
        through(far, found)
        found.cut_at = [size // 3, size // 3 * 2]
        assert "has been started" in up(far, bundle)
        assert found.cut_at == []
        # What was under way at a cut is sent again: a window of the channel.
        assert found.sent < size + 2 * (5 << 19)
    assert far.sh("ls /var/lib/bpfd/upload") == ""


def test_the_next_command_goes_on_where_a_killed_one_was(far: Far, bundle: Path) -> None:
    size = bundle.stat().st_size
    with relay(far.port) as found:
        through(far, found)
        process = far.line.start("target", "up", "far", "--bundle", bundle)
        # A window of 2 MiB is lost with the connection.
        assert eventually(lambda: found.sent > size // 8 * 7)
        process.kill()
        finish(process)
        assert far.daemons() == []
        before = found.sent
        up(far, bundle)
        assert found.sent - before < size - size // 8


def test_a_silent_network_is_noticed(far: Far, bundle: Path) -> None:
    """Nothing comes through any more, and nobody says so: a command ends all the same."""
    up(far, bundle)
    with relay(far.port) as found:
        through(far, found)
        far.line.run("target", "up", "far").ok()
        found.held.set()
        started = time.monotonic()
        done = far.line.run("-t", "far", "object", "list")
        done.refused(5, "says nothing")
        assert time.monotonic() - started < 30


@pytest.mark.parametrize("damage", ["first bytes", "too long"])
def test_what_was_left_and_is_wrong_is_sent_again(far: Far, bundle: Path, damage: str) -> None:
    from bpfctl.bootstrap.source import from_file

    sha256 = from_file(bundle).sha256
    far.sh("cd /var/lib; mkdir -p bpfd/upload bpfd/bundles; echo /var/lib/bpfd >bpfd/made")
    size = 4 << 20 if damage == "first bytes" else 64 << 20
    far.sh(f"head -c {size} /dev/zero >/var/lib/bpfd/upload/{sha256}.old")
    assert "has been started" in up(far, bundle)
    assert far.sh("ls /var/lib/bpfd/upload") == ""


def test_without_a_tool_for_hashes(tmp_path: Path, bundle: Path, small: Small) -> None:
    """The bundle's own Python compares its files with the manifest."""
    with far_machine(tmp_path, "mount --bind /bin/false /usr/bin/sha256sum") as far:
        assert "has been started" in up(far, bundle)
        far.line.run("target", "purge", "far").ok()
        damaged = small("damaged", {"licenses/mine": "damaged"})
        done = far.line.run("target", "up", "far", "--bundle", damaged)
        done.refused(1, "arrived damaged")
        assert far.sh("ls /var/lib") == ""


def test_no_room(tmp_path: Path, bundle: Path) -> None:
    """Known before, and found out in the middle: nothing is left either way."""
    with far_machine(tmp_path, "mount -t tmpfs -o size=6m,mode=755 small /opt") as far:
        before = far.listing()
        done = far.line.run("target", "up", "far", "--bundle", bundle, "--home", "/opt/a/b")
        done.refused(1, "/opt/a/b has 6.0 MiB free", "--home")
        assert far.listing() == before
        far.sh("mount -t tmpfs -o nr_inodes=10,size=200m,mode=755 few /opt")
        before = far.listing()
        done = far.line.run("target", "up", "far", "--bundle", bundle, "--home", "/opt/a/b")
        done.refused(1, "No space left on device", "make room")
        assert far.listing() == before
        assert far.daemons() == []


def test_room_for_the_unpacked_bundle_only(tmp_path: Path, bundle: Path) -> None:
    from bpfctl.bootstrap.source import from_file

    size = (from_file(bundle).unpacked >> 10) + 6000
    with far_machine(tmp_path, f"mount -t tmpfs -o size={size}k,mode=755 own /opt") as far:
        assert "(/opt/b, " in up(far, bundle, "--home", "/opt/b")
        far.line.run("target", "info", "far").ok()


def test_folders_where_nothing_may_run(tmp_path: Path, bundle: Path) -> None:
    noexec = "mount -t tmpfs -o noexec,mode=755 own /var/lib"
    read_only = "mount -t tmpfs -o ro own /opt"
    with far_machine(tmp_path, noexec, read_only) as far:
        assert "(/root/.bpfd, " in up(far, bundle)
        far.line.run("target", "purge", "far").ok()
        for home, why in (("/var/lib/x", "noexec"), ("/opt/x", "cannot be written")):
            done = far.line.run("target", "up", "far", "--bundle", bundle, "--home", home)
            done.refused(1, f"{home} ", why)
        far.sh("echo >/root/file")
        done = far.line.run("target", "up", "far", "--bundle", bundle, "--home", "/root")
        done.refused(1, "holds files that are not ours")
        far.line.run("target", "up", "far", "--home", "root").refused(2, "absolute path")
        assert far.sh("ls /root /var/lib") == "/root:\nfile\n\n/var/lib:\n"


def test_a_home_in_folders_that_are_not_there(far: Far, bundle: Path) -> None:
    before = far.listing()
    up(far, bundle, "--home", "/opt/a/b")
    assert home_of(far) == "/opt/a/b"
    far.line.run("target", "purge", "far").ok()
    assert far.listing() == before
    far.sh("mkdir /opt/empty")
    before = far.listing()
    up(far, bundle, "--home", "/opt/empty")
    far.line.run("target", "purge", "far").ok()
    assert far.listing() == before


def test_two_at_once(far: Far, bundle: Path) -> None:
    commands = [far.line.start("target", "up", "far", "--bundle", bundle) for _ in range(2)]
    for command in commands:
        finish(command).ok()
    assert len(far.daemons()) == 1
    assert far.sh("ls -A /var/lib/bpfd/upload; ls -A /var/lib/bpfd/bundles | wc -l") == "1\n"
    far.line.run("target", "info", "far").ok()


def test_a_server_without_forwarding(tmp_path: Path, bundle: Path) -> None:
    """The daemon's socket is reached by a command then."""
    with far_machine(tmp_path, settings=("AllowStreamLocalForwarding=no",)) as far:
        up(far, bundle)
        assert "daemon_version" in far.line.run("target", "info", "far").ok()
        far.line.run("target", "down", "far").ok()
        done = far.line.run("-t", "far", "object", "list")
        done.refused(5, "the daemon is not running", "`bpfctl target up far` starts it")


def test_a_target_without_a_name(far: Far) -> None:
    done = far.line.run("target", "up", f"ssh://root@127.0.0.1:{far.port}")
    done.refused(2, "give it a name first", "target add NAME --ssh", context=True)
    far.line.run("target", "up", "local").refused(2, "it is reached by local")


def test_a_bundle_for_another_machine(far: Far, small: Small) -> None:
    before = far.listing()
    other = small("other", {"manifest.json": '{"architecture": "armhf", "files": {}}'})
    done = far.line.run("target", "up", "far", "--bundle", other)
    done.refused(2, "it is for armhf, and far is amd64")
    (far.folder / "text").write_text("text")
    done = far.line.run("target", "up", "far", "--bundle", "text")
    done.refused(2, "not a bundle")
    assert far.listing() == before


@contextlib.contextmanager
def interfaces() -> Iterator[tuple[str, str]]:
    """Two interfaces of this machine, joined; nobody else uses them."""
    tag = f"{os.getpid() % 100000}"
    near, far = f"bs{tag}n", f"bs{tag}f"
    run = ("ip", "link", "add", near, "type", "veth", "peer", far)
    subprocess.run(run, check=True)
    try:
        for name in (near, far):
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
            subprocess.run(("ip", "link", "set", name, "up"), check=True)
        yield near, far
    finally:
        subprocess.run(("ip", "link", "del", near), check=True)


def link(name: str) -> str:
    """What ip(8) says of an interface."""
    done = subprocess.run(("ip", "link", "show", name), capture_output=True, text=True)
    return done.stdout


class Traffic(threading.Thread):
    """Sends packets into an interface, one each millisecond, until `stop`."""

    def __init__(self, interface: str) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((interface, 0))
        self._ending = threading.Event()
        self.sent = 0

    def run(self) -> None:
        udp = bytes([0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17]) + bytes(26)
        frame = b"\xff" * 6 + b"\x02" + bytes(5) + b"\x08\x00" + udp
        while not self._ending.wait(0.001):
            self._socket.send(frame)
            self.sent += 1

    def stop(self) -> None:
        self._ending.set()
        self.join()
        self._socket.close()


def counted(far: Far) -> int:
    """How many packets the program has seen."""
    index = hooks_support.HITS.index("xdp")
    rows = far.line.run("-t", "far", "map", "dump", "hooks/hits", "-o", "csv").ok()
    (row,) = [line for line in rows.splitlines() if line.split(",")[0] in (str(index), "xdp")]
    return int(row.split(",")[-1])


def test_upgrade_under_traffic(far: Far, real_bundle: Path, tmp_path: Path) -> None:
    """Another daemon takes over; every packet meets the program all the time."""
    second = bundles.variant(tmp_path / "second.tar.gz", real_bundle, {"licenses/more": "more"})
    (far.folder / "hooks.o").write_bytes(hooks_support.compiled())
    up(far, real_bundle)
    old = far.daemons()
    with interfaces() as (near, other):
        far.line.run("-t", "far", "load", "hooks.o").ok()
        far.line.run("-t", "far", "attach", "hooks/xdp_count", f"xdp:{near}").ok()
        traffic = Traffic(other)
        traffic.start()
        said = far.line.run("target", "upgrade", "far", "--bundle", second).ok()
        assert "in place of" in said
        assert eventually(lambda: traffic.sent > 1000)
        traffic.stop()
        assert far.daemons() != old
        assert eventually(lambda: counted(far) == traffic.sent), (counted(far), traffic.sent)
        assert "it has that bundle already" in (
            far.line.run("target", "upgrade", "far", "--bundle", second).ok()
        )
        far.line.run("-t", "far", "unload", "hooks").ok()
    assert far.sh("ls -A /var/lib/bpfd/bundles | wc -l") == "1\n"


BROKEN = {
    "does not start": "#!/bin/sh\necho it hurts >&2\nexit 3\n",
    "says it is ready and is not": "#!/bin/sh\necho ready\n",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_bundle_is_taken_back(far: Far, bundle: Path, small: Small, how: str) -> None:
    broken = small("broken", {"bpfd": BROKEN[how]})
    (far.folder / "hooks.o").write_bytes(hooks_support.compiled())
    up(far, bundle)
    with interfaces() as (near, _):
        far.line.run("-t", "far", "load", "hooks.o").ok()
        far.line.run("-t", "far", "attach", "hooks/xdp_count", f"xdp:{near}").ok()
        done = far.line.run("target", "upgrade", "far", "--bundle", broken)
        done.refused(1, "the old one is back")
        if how == "does not start":
            assert "it hurts" in done.err
        assert "hooks/xdp_count" in far.line.run("-t", "far", "link", "list").ok()
        assert "xdp" in link(near)
        far.line.run("-t", "far", "unload", "hooks").ok()
    assert far.sh("ls -A /var/lib/bpfd/bundles | wc -l") == "1\n"


def test_open_sessions_are_not_ended_by_the_way(far: Far, bundle: Path, small: Small) -> None:
    second = small("second", {"licenses/more": "another bundle"})
    (far.folder / "hooks.o").write_bytes(hooks_support.compiled())
    up(far, bundle)
    running = far.line.start(
        *("-t", "far", "run", "hooks.o", "--attach", "raw_tracepoint=raw_tracepoint:sys_enter"),
        *(f"--no-program={name}" for name in hook_programs() if name != "raw_tracepoint"),
    )
    try:
        info = ("target", "info", "far", "-o", "json")
        assert eventually(
            lambda: (
                '"raw_tracepoint"'
                in far.line.run("-t", "far", "object", "list", "-o", "json").out
                or running.poll() is not None
            )
        )
        assert running.poll() is None, finish(running)
        assert far.line.run(*info).code == 0
        done = far.line.run("target", "upgrade", "far", "--bundle", second)
        done.refused(1, "1 open session", "--force")
        assert running.poll() is None
        far.line.run("target", "upgrade", "far", "--bundle", second, "--force").ok()
        ended = finish(running)
        assert ended.code != 0
        assert "shutting down" in ended.err
    finally:
        running.kill()
        running.wait()


def hook_programs() -> list[str]:
    from bpfctl.elf import ObjectFile

    return [each.name for each in ObjectFile.parse(hooks_support.compiled()).programs]


SUDO = """#include <string.h>
#include <unistd.h>
int main(int count, char **words)
{
	if (count < 3 || strcmp(words[1], "-n") || setgid(0) || setuid(0))
		return 1;
	execvp(words[2], words + 2);
	return 127;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("sudo", [True, False])
def test_a_user_who_is_not_root(tmp_path: Path, bundle: Path, sudo: bool) -> None:
    programs = tmp_path / "programs"
    programs.mkdir(mode=0o755)
    if sudo:
        (tmp_path / "sudo.c").write_text(SUDO)
        subprocess.run(["gcc", "-o", programs / "sudo", tmp_path / "sudo.c"], check=True)
        (programs / "sudo").chmod(0o4755)
    (tmp_path / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
        "pi:x:1000:1000::/opt:/bin/sh\n"
    )
    with far_machine(
        tmp_path,
        f"mount --bind {tmp_path}/passwd /etc/passwd",
        f"mount --bind {programs} /usr/local/bin",
        f"cp {tmp_path}/authorized_keys /run/keys",
        settings=("AuthorizedKeysFile=/run/keys",),
    ) as far:
        before = far.listing()
        address = f"pi@127.0.0.1:{far.port}"
        far.line.run("target", "add", "far", "--ssh", address, "--replace").ok()
        if not sudo:
            done = far.line.run("target", "up", "far", "--bundle", bundle)
            done.refused(6, "CAP_BPF", "user id 1000", "log in as root", "sudo")
            assert far.listing() == before
            return
        assert "has been started (/var/lib/bpfd" in up(far, bundle)
        assert "daemon_version" in far.line.run("target", "info", "far").ok()
        assert "runs already" in far.line.run("target", "up", "far").ok()
        far.line.run("target", "purge", "far").ok()
        assert far.listing() == before


def test_a_first_bundle_that_does_not_start(far: Far, small: Small) -> None:
    before = far.listing()
    broken = small("broken", {"bpfd": "#!/bin/sh\necho it hurts >&2\nexit 3\n"})
    done = far.line.run("target", "up", "far", "--bundle", broken)
    done.refused(1, "the daemon does not start: it hurts")
    assert far.listing() == before
    assert home_of(far) == ""


FAKE_SYSTEMCTL = """#!/bin/sh
echo "$@" >>{log}
case $1 in
cat) [ -e {unit} ] ;;
start) exec bpfd serve --detach --log /run/log >/dev/null ;;
esac
"""


def test_an_installed_daemon(tmp_path: Path) -> None:
    """`up` finds it, starts its unit, and puts nothing there."""
    programs = tmp_path / "programs"
    programs.mkdir()
    venv = shutil.which("bpfd", path=str(Path(sys.executable).parent))
    (programs / "bpfd").symlink_to(str(venv))
    systemctl = programs / "systemctl"
    log, unit = tmp_path / "log", tmp_path / "unit"
    systemctl.write_text(FAKE_SYSTEMCTL.format(log=log, unit=unit))
    systemctl.chmod(0o755)
    with far_machine(tmp_path, f"mount --bind {programs} /usr/local/bin") as far:
        far.sh("mkdir -p /run/systemd/system")
        done = far.line.run("target", "up", "far")
        done.refused(1, "bpfd is installed (/usr/local/bin/bpfd)", "bpfd serve", "--home")
        unit.touch()
        said = far.line.run("target", "up", "far").ok()
        assert "has been started (an installed daemon)" in said
        assert "start bpfd.service" in log.read_text()
        assert "runs already (an installed daemon)" in far.line.run("target", "up", "far").ok()
        assert home_of(far) == ""
        assert "daemon_version" in far.line.run("target", "info", "far").ok()
        done = far.line.run("target", "down", "far")
        done.refused(4, "/usr/local/bin/bpfd was installed by other means")
        assert far.sh("ls -A /var/lib") == ""
