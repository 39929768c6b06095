# SPDX-License-Identifier: Apache-2.0
"""No privileges, no BTF, no compiler, no room, nothing writable: on either side."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.api import Api
from tests.kernel.clang import clang, compiled
from tests.kernel.command_line import CommandLine, check_clean, finish
from tests.kernel.conftest import MakeDaemon, RunningDaemon

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")

PLAIN = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int passes(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
"""

CORE = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

SEC("raw_tp/sched_switch")
int reads_pid(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, pid) == 1;
}

char LICENSE[] SEC("license") = "GPL";
"""


def test_a_daemon_without_privileges(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    daemon.folder.chmod(0o755)
    done = subprocess.run(
        [*NOBODY, *daemon.command()], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 77
    assert done.stderr.count("\n") == 1
    assert "CAP_BPF" in done.stderr
    assert "start it as root" in done.stderr
    assert not list(daemon.folder.iterdir())
    assert not daemon.bpffs.exists()


@contextlib.contextmanager
def without_btf(make_daemon: MakeDaemon) -> Iterator[RunningDaemon]:
    """A daemon that sees an empty folder where the kernel's BTF is."""
    daemon = make_daemon()
    empty = daemon.folder / "empty"
    empty.mkdir()
    script = f'mount --bind "{empty}" /sys/kernel/btf && exec "$@"'
    daemon.prefix = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
    daemon.start()
    yield daemon
    check_clean(daemon)


def test_a_target_without_btf(
    make_daemon: MakeDaemon, tmp_path: Path, bpfctl: CommandLine
) -> None:
    (tmp_path / "plain.bpf.c").write_text(PLAIN)
    (tmp_path / "core.bpf.c").write_text(CORE)
    core = bpfctl.run("build", "core.bpf.c", "--out", "core.o")
    core.ok()
    with without_btf(make_daemon) as daemon:
        line = CommandLine(daemon.socket, tmp_path)
        line.environment["BPFCTL_CACHE_DIR"] = str(tmp_path / "other-cache")
        line.run("target", "info").ok()
        line.run("load", "plain.bpf.c").ok()
        line.run("program", "show", "plain/passes").ok()
        line.run("map", "list").ok()
        line.run("unload", "plain").ok()
        line.run("load", "core.o").refused(7, "BTF", "CONFIG_DEBUG_INFO_BTF")
        line.run("run", "core.o").refused(7, "BTF", "CONFIG_DEBUG_INFO_BTF")
        done = line.run("load", "core.bpf.c")
        assert done.code in (1, 7)
        done.refused(done.code, "BTF")
        (tmp_path / "hooks.o").write_bytes(compiled("hooks"))
        line.run("load", "hooks.o", *no_programs("tp_btf", "tp_btf_other", "tp_btf_exit")).ok()
        line.run("unload", "hooks").ok()
        line.run("load", "hooks.o").refused(7, "BTF")


def no_programs(*names: str) -> list[str]:
    """Options that leave programs out."""
    return [word for name in names for word in ("--no-program", name)]


@pytest.fixture
def without_clang(bpfctl: CommandLine) -> CommandLine:
    """No clang in PATH, and no ziglang."""
    empty = bpfctl.folder / "empty"
    empty.mkdir()
    hidden = bpfctl.folder / "hidden" / "ziglang"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("")
    bpfctl.environment["PATH"] = str(empty)
    bpfctl.environment["PYTHONPATH"] = os.pathsep.join(
        [str(hidden.parent), os.environ.get("PYTHONPATH", "")]
    )
    return bpfctl


def test_no_clang(without_clang: CommandLine) -> None:
    (without_clang.folder / "plain.bpf.c").write_text(PLAIN)
    (without_clang.folder / "plain.o").write_bytes(compiled("objects"))
    for command in ("build", "load", "run"):
        done = without_clang.run(command, "plain.bpf.c")
        done.refused(1, "no compiler for BPF", "apt install clang", "ziglang")
    without_clang.run("load", "plain.o").ok()
    without_clang.run("unload", "plain").ok()


def test_a_compiler_that_is_none(without_clang: CommandLine) -> None:
    (without_clang.folder / "plain.bpf.c").write_text(PLAIN)
    for command, says in (
        ("/nonexistent/clang", "no program"),
        ("/bin/true", "16 or newer"),
        ("/bin/false", "16 or newer"),
        ("", "no compiler"),
    ):
        done = without_clang.run("build", "plain.bpf.c", environment={"BPFCTL_CLANG": command})
        done.refused(1, says)
    fake = without_clang.folder / "empty" / "clang"
    fake.write_text("#!/bin/sh\necho clang version 3.9.1\n")
    fake.chmod(0o755)
    without_clang.run("build", "plain.bpf.c").refused(1, "version 3", "16 or newer")
    fake.write_text(
        "#!/bin/sh\ncase $1 in --version) echo clang version 18.1;; *) kill -9 $$;; esac\n"
    )
    without_clang.run("build", "plain.bpf.c").refused(1, "killed by signal 9")


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "64k") -> Iterator[Path]:
    """A file system with little room."""
    place = folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "bad", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def fill_up(folder: Path) -> None:
    """Uses all of the room."""
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("source", [PLAIN, CORE], ids=["plain", "with vmlinux.h"])
@pytest.mark.parametrize("full", [True, False], ids=["full", "small"])
def test_no_room_for_the_cache(bpfctl: CommandLine, source: str, full: bool) -> None:
    """The cache is not needed to build; what cannot be kept is said, or it is built again."""
    (bpfctl.folder / "one.bpf.c").write_text(source)
    with small_disk(bpfctl.folder) as cache:
        if full:
            fill_up(cache)
        environment = {"BPFCTL_CACHE_DIR": str(cache)}
        for _ in range(2):
            done = bpfctl.run("load", "one.bpf.c", environment=environment)
            if done.code == 0:
                bpfctl.run("unload", "one").ok()
            else:
                done.refused(1, str(cache), "BPFCTL_CACHE_DIR")
        assert not [path for path in cache.rglob("*") if path.name.startswith(".")]
        assert "one" not in bpfctl.run("object", "list").ok()
    bpfctl.run("load", "one.bpf.c").ok()
    bpfctl.run("unload", "one").ok()


def test_a_cache_that_is_read_only(bpfctl: CommandLine) -> None:
    (bpfctl.folder / "one.bpf.c").write_text(PLAIN)
    place = bpfctl.folder / "read-only"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "bad", place], check=True)
    try:
        for path in (place, place / "below"):
            environment = {"BPFCTL_CACHE_DIR": str(path)}
            done = bpfctl.run("load", "one.bpf.c", environment=environment)
            done.refused(1, str(path), "BPFCTL_CACHE_DIR")
        (bpfctl.folder / "one.o").write_bytes(compiled("objects"))
        bpfctl.run("load", "one.o", environment={"BPFCTL_CACHE_DIR": str(place)}).ok()
        bpfctl.run("unload", "one").ok()
    finally:
        subprocess.run(["umount", place], check=True)
    in_the_way = bpfctl.folder / "file"
    in_the_way.write_text("")
    environment = {"BPFCTL_CACHE_DIR": str(in_the_way)}
    done = bpfctl.run("load", "one.bpf.c", environment=environment)
    done.refused(1, str(in_the_way), "BPFCTL_CACHE_DIR")


def test_a_cache_that_is_damaged(bpfctl: CommandLine) -> None:
    """Every file of it is cut short or overwritten; it is built again."""
    (bpfctl.folder / "one.bpf.c").write_text(CORE)
    bpfctl.run("build", "one.bpf.c").ok()
    cache = Path(bpfctl.environment["BPFCTL_CACHE_DIR"])
    for damage in (b"", b"noise", b'{"a": 1}'):
        for path in cache.rglob("*"):
            if path.is_file():
                path.write_bytes(damage)
        bpfctl.run("load", "one.bpf.c").ok()
        bpfctl.run("unload", "one").ok()


def test_a_configuration_that_cannot_be_written(bpfctl: CommandLine) -> None:
    (bpfctl.folder / "file").write_text("")
    environment = {"BPFCTL_CONFIG_DIR": str(bpfctl.folder / "file")}
    for command in (("target", "add", "x", "--local", "/s"), ("pki", "init")):
        done = bpfctl.run(*command, environment=environment)
        assert done.code in (1, 2)
        done.refused(done.code, str(bpfctl.folder / "file"))
    with small_disk(bpfctl.folder) as place:
        environment = {"BPFCTL_CONFIG_DIR": str(place)}
        add = ("target", "add", "x", "--local", "/s")
        bpfctl.run(*add, environment=environment).ok()
        fill_up(place)
        before = (place / "targets.toml").read_bytes()
        for number in range(40):
            add = ("target", "add", f"y{number}", "--local", "/" + "s" * 100)
            done = bpfctl.run(*add, environment=environment)
            if done.code:
                break
            before = (place / "targets.toml").read_bytes()
        done.refused(1, str(place))
        assert (place / "targets.toml").read_bytes() == before
        assert {path.name for path in place.iterdir()} == {"targets.toml", "filler"}


def test_no_room_for_what_the_daemon_keeps(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    with small_disk(tmp_path) as place:
        daemon = make_daemon("--state-dir", str(place))
        daemon.start()
        line = CommandLine(daemon.socket, tmp_path)
        (tmp_path / "one.o").write_bytes(compiled("objects"))
        line.run("load", "one.o").ok()
        fill_up(place)
        line.run("load", "one.o", "--name", "two").ok()
        assert "no note of object two" in daemon.log()
        point = ("raw_tracepoint:sched_switch", "--name", "link")
        line.run("attach", "two/count_switches", *point).ok()
        daemon.kill()
        daemon.start()
        listed = json.loads(line.run("object", "list", "-o", "json").ok())
        assert {row["name"] for row in listed} == {"one", "two"}
        assert "link" in line.run("link", "list").ok()
        line.run("unload", "two").ok()
        line.run("unload", "one").ok()
        check_clean(daemon)
        left = {path.name for path in place.rglob("*") if path.is_file()}
        assert left == {"audit.jsonl", "filler"}
        daemon.stop()


@contextlib.contextmanager
def line_of(daemon: RunningDaemon) -> Iterator[Api]:
    """The daemon's API."""
    with daemon.channel() as channel:
        yield Api(channel)


def test_a_state_folder_that_cannot_be_used(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        daemon = make_daemon("--state-dir", str(path))
        done = subprocess.run(daemon.command(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 73, done.stderr
        assert "Traceback" not in done.stderr
        assert str(path) in done.stderr
        assert not daemon.socket.exists()


def test_state_that_is_damaged(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """The pins are the truth; notes and journal that are noise are passed over."""
    daemon = make_daemon()
    daemon.start()
    line = CommandLine(daemon.socket, tmp_path)
    (tmp_path / "one.o").write_bytes(compiled("objects"))
    line.run("load", "one.o").ok()
    line.run("attach", "one/count_switches", "raw_tracepoint:sched_switch").ok()
    daemon.kill()
    notes = list((daemon.state_dir / "objects").iterdir())
    assert notes
    for note in notes:
        note.write_bytes(os.urandom(300))
    journal = daemon.state_dir / "journal"
    journal.mkdir(exist_ok=True)
    (journal / "noise.json").write_bytes(b"\xff{]")
    (journal / "other.json").write_bytes(b'{"a": 1}')
    daemon.start()
    shown = line.run("object", "list").ok()
    assert "one" in shown
    line.run("unload", "one").ok()
    check_clean(daemon)


def test_second_daemons(bpfctl: CommandLine, daemon: RunningDaemon) -> None:
    """On the same socket, and on the same pins; the first one notices nothing."""
    (bpfctl.folder / "one.o").write_bytes(compiled("objects"))
    bpfctl.run("load", "one.o").ok()
    for arguments in (
        ["--bpffs", f"{daemon.bpffs}-other"],
        ["--socket", str(daemon.folder / "other.sock")],
        [],
    ):
        second = subprocess.run(
            [*daemon.command(), *arguments], capture_output=True, text=True, timeout=60
        )
        assert second.returncode == 75
        assert second.stderr.count("\n") == 1
        assert f"(pid {daemon.pid})" in second.stderr
        assert "; give --" in second.stderr
        assert "one" in bpfctl.run("object", "list").ok()
    bpfctl.run("unload", "one").ok()


def test_run_is_interrupted(bpfctl: CommandLine) -> None:
    """Ctrl-C is the way to end it, so that is success; SIGTERM is not."""
    (bpfctl.folder / "one.o").write_bytes(compiled("objects"))
    watched = ("--set", "watched_pid=1", "--no-program", "count_packets")
    for number, code in ((signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        process = bpfctl.start("run", "one.o", *watched)
        assert process.stderr is not None
        assert "attached count_switches" in process.stderr.readline()
        process.send_signal(number)
        done = finish(process)
        assert done.code == code
        assert done.err == ""
        bpfctl.run("object", "show", "one").refused(4, "one")


def test_core_of_another_kernel(bpfctl: CommandLine, daemon: RunningDaemon) -> None:
    """A field that no kernel has is shown at its line, with the field's name."""
    source = CORE.replace(
        "BPF_CORE_READ(task, pid)", "BPF_CORE_READ(other(task), no_such_field)"
    )
    source = source.replace(
        'SEC("raw_tp',
        "struct task_struct___other {\n\tint no_such_field;\n"
        "} __attribute__((preserve_access_index));\n\n"
        "#define other(task) ((struct task_struct___other *)(task))\n\n"
        'SEC("raw_tp',
    )
    (bpfctl.folder / "core.bpf.c").write_text(source)
    done = bpfctl.run("load", "core.bpf.c")
    done.refused(3, "reads_pid", context=True)
    assert "no_such_field" in done.err
    number = next(n for n, text in enumerate(source.splitlines(), 1) if "CORE_READ(" in text)
    assert done.err.startswith(f"core.bpf.c:{number}:")
