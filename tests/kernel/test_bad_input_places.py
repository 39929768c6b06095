# SPDX-License-Identifier: Apache-2.0
"""Attach points that are not there, misspelt, or taken by somebody else."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.clang import clang, compiled
from tests.kernel.command_line import CommandLine
from tests.kernel.conftest import MakeDaemon

pytestmark = [
    pytest.mark.skipif(not clang(), reason="needs clang"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip of iproute2"),
]

BPFTOOL = shutil.which("bpftool") or "/usr/sbin/bpftool"
needs_bpftool = pytest.mark.skipif(not os.path.exists(BPFTOOL), reason="needs bpftool")


def run(*words: str) -> str:
    """Runs a command that must succeed."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def hooks(bpfctl: CommandLine) -> Iterator[CommandLine]:
    """A program for each kind of hook is loaded as `hooks`."""
    (bpfctl.folder / "hooks.o").write_bytes(compiled("hooks"))
    bpfctl.run("load", "hooks.o").ok()
    yield bpfctl
    links = bpfctl.run("object", "show", "hooks", "-o", "json").ok()
    assert "bad0" not in links
    bpfctl.run("unload", "hooks").ok()


MISSING = [
    ("xdp_count", "xdp:nosuch0", "interface 'nosuch0'", "has"),
    ("xdp_count", "xdp:lo,netns=nosuch", "network namespace 'nosuch'", ""),
    ("xdp_count", "xdp:lo,netns=/nowhere", "network namespace '/nowhere'", ""),
    ("tc_count", "tc:nosuch0,ingress", "interface 'nosuch0'", "has"),
    ("cgroup_count", "cgroup_skb:/sys/fs/cgroup/nowhere,egress", "cgroup", "mounted at"),
    ("sock_ops_count", "sock_ops:/nowhere", "cgroup '/nowhere'", "mounted at"),
    ("tracepoint", "tracepoint:sched/sched_swich", "sched/sched_swich", "sched/sched_switch"),
    ("tracepoint", "tracepoint:nowhere/nothing", "category 'nowhere'", "for example"),
    ("raw_tracepoint", "raw_tracepoint:sched_swich", "'sched_swich'", "sched_switch"),
    ("probe_entry", "uprobe:/bin/sh:nothing_of_it", "function 'nothing_of_it'", "/bin/sh"),
    ("probe_return", "uretprobe:/bin/sh:nothing_of_it", "function", "/bin/sh"),
    ("probe_entry", "uprobe:/bin/nothing:main", "binary '/bin/nothing'", ""),
    ("nothing", "xdp:lo", "program 'hooks/nothing'", "xdp_count"),
]


def test_places_that_are_not_there(hooks: CommandLine) -> None:
    for program, point, what, help_ in MISSING:
        hooks.run("attach", f"hooks/{program}", point).refused(4, what, help_)


MISSPELT = [
    ("xdp_count", "xdp", "write xdp:INTERFACE"),
    ("xdp_count", "xdpp:lo", "no kind of attach point 'xdpp'"),
    ("xdp_count", "xdp:lo,mode=fast", "native, generic"),
    ("xdp_count", "xdp:lo,speed=fast", "speed"),
    ("xdp_count", "tc:lo,ingress", "xdp_count is a program of type xdp"),
    ("tc_count", "xdp:lo", "tc_count is a program of type sched_cls"),
    ("tc_count", "tc:lo", "ingress"),
    ("cgroup_count", "cgroup_skb:/tmp,egress", "not in the cgroup2 hierarchy"),
    ("tracepoint", "tracepoint:sched_switch", "CATEGORY/NAME"),
    ("probe_entry", "uprobe:/etc/passwd:main", "not an ELF file"),
    ("sample", "perf_event:nothing", "no perf event 'nothing'"),
    ("sample", "perf_event:cpu-clock,frequency=-1", "frequency"),
]


def test_places_that_are_misspelt(hooks: CommandLine) -> None:
    for program, point, says in MISSPELT:
        hooks.run("attach", f"hooks/{program}", point).refused(2, says)


def test_a_hook_that_the_target_does_not_offer(hooks: CommandLine) -> None:
    done = hooks.run("attach", "hooks/xdp_count", "xdp:lo,mode=offload")
    done.refused(7, "XDP_MODE_OFFLOAD", "native or generic")


def test_run_with_a_place_that_is_missing_leaves_nothing(bpfctl: CommandLine) -> None:
    """Some programs are attached already when another one fails."""
    (bpfctl.folder / "objects.o").write_bytes(compiled("objects"))
    done = bpfctl.run("run", "objects.o", "-i", "nosuch0")
    done.refused(4, "interface 'nosuch0'")
    switches = ("--attach", "count_switches=raw_tracepoint:sched_switch")
    done = bpfctl.run("run", "objects.o", *switches, "--attach", "count_packets=xdp:nosuch0")
    done.refused(4, "interface 'nosuch0'")
    done = bpfctl.run("run", "objects.o")
    done.refused(2, "which interface?", "--interface NAME")


@dataclass(frozen=True)
class Namespace:
    """A network namespace with the interface bad0."""

    name: str

    @property
    def point(self) -> str:
        return f"xdp:bad0,netns={self.name}"

    @property
    def inside(self) -> tuple[str, ...]:
        """Not by `ip netns exec`, which puts another /sys over the one with the pins."""
        return ("nsenter", f"--net=/run/netns/{self.name}")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    found = Namespace(f"bad-{os.getpid()}-{os.urandom(2).hex()}")
    run("ip", "netns", "add", found.name)
    try:
        run("ip", "-n", found.name, "link", "add", "bad0", "type", "veth", "peer", "bad1")
        yield found
    finally:
        run("ip", "netns", "del", found.name)


@contextlib.contextmanager
def someone_elses_program(name: str = "xdp_count") -> Iterator[Path]:
    """A pinned program that the daemon knows nothing of."""
    folder = Path(f"/sys/fs/bpf/bad-{os.getpid()}-{os.urandom(2).hex()}")
    elf = Path(f"/tmp/{folder.name}.o")
    elf.write_bytes(compiled("hooks"))
    try:
        run(BPFTOOL, "prog", "loadall", str(elf), str(folder))
        yield folder / name
    finally:
        elf.unlink()
        shutil.rmtree(folder, ignore_errors=True)


@needs_bpftool
@pytest.mark.parametrize("how", ["bpftool", "ip"])
def test_taken_by_a_tool_without_a_link(
    hooks: CommandLine, namespace: Namespace, how: str
) -> None:
    with someone_elses_program() as pin:
        if how == "bpftool":
            attach = (BPFTOOL, "net", "attach", "xdpdrv", "pinned", str(pin), "dev", "bad0")
            run(*namespace.inside, *attach)
        else:
            run(*namespace.inside, "ip", "link", "set", "bad0", "xdp", "pinned", str(pin))
        (number,) = [
            line.partition(":")[0]
            for line in run(BPFTOOL, "prog", "show", "pinned", str(pin)).splitlines()[:1]
        ]
        said = hooks.run("attach", "hooks/xdp_count", namespace.point).refused(
            8, "bad0", "xdp_count", number
        )
        assert "ip " in said, "it does not say how to free the interface"
        assert "xdp" in run("ip", "-n", namespace.name, "link", "show", "bad0")
        run("ip", "-n", namespace.name, "link", "set", "bad0", "xdp", "off")
        run("ip", "-n", namespace.name, "link", "set", "bad0", "xdpdrv", "off")
    hooks.run("attach", "hooks/xdp_count", namespace.point, "--name", "mine").ok()
    hooks.run("detach", "mine").ok()


HOLDER = """
import sys, time
from bpfd.attach import xdp
from bpfd.attach.attachment import Program
from bpfd.kernel import elf_object
from bpfd.kernel.load_options import LoadOptions
from bpfd.v1 import attach_pb2, common_pb2
loaded = elf_object.load("hooks", open(sys.argv[1], "rb").read(), LoadOptions())
found = loaded.programs["xdp_count"]
place = common_pb2.Interface(name="bad0", netns=common_pb2.Netns(name=sys.argv[2]))
point = attach_pb2.AttachPoint(xdp=attach_pb2.Xdp(interface=place))
program = Program(found.fd, found.id, found.name, found.type, found.expected_attach_type)
attachment = xdp.attach(program, point.xdp)
print(found.id, flush=True)
sys.stdin.read()
"""


def test_taken_by_the_link_of_another_process(hooks: CommandLine, namespace: Namespace) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, hooks.folder / "hooks.o", namespace.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder, contextlib.closing(holder.stdin):
        number = holder.stdout.readline().strip()
        hooks.run("attach", "hooks/xdp_count", namespace.point).refused(
            8, "bad0", "xdp_count", number, f"[{holder.pid}]"
        )


def test_taken_by_another_object_of_the_daemon(
    hooks: CommandLine, namespace: Namespace
) -> None:
    hooks.run("load", "hooks.o", "--name", "first").ok()
    hooks.run("attach", "first/xdp_drop", namespace.point, "--name", "front").ok()
    for program in ("hooks/xdp_count", "first/xdp_count"):
        done = hooks.run("attach", program, namespace.point)
        done.refused(8, "bad0", "front", "first")
    listed = hooks.run("link", "list", "-o", "json").ok()
    assert "front" in listed
    hooks.run("unload", "first").ok()


def test_taken_by_another_daemon(
    hooks: CommandLine, namespace: Namespace, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    other = make_daemon()
    other.start()
    theirs = CommandLine(other.socket, tmp_path)
    theirs.run("load", "hooks.o").ok()
    theirs.run("attach", "hooks/xdp_count", namespace.point).ok()
    done = hooks.run("attach", "hooks/xdp_count", namespace.point)
    done.refused(8, "bad0", f"bpfd[{other.pid}]")
    theirs.run("unload", "hooks").ok()


def test_a_name_of_a_link_that_is_taken(hooks: CommandLine) -> None:
    point = "raw_tracepoint:sched_switch"
    hooks.run("attach", "hooks/raw_tracepoint_other", point, "--name", "one").ok()
    done = hooks.run("attach", "hooks/raw_tracepoint_other", point, "--name", "one")
    done.refused(2, "one")
    for name in ("../up", "a\nb", "x" * 300, "\x1b[1m"):
        point = "raw_tracepoint:sched_switch"
        done = hooks.run("attach", "hooks/raw_tracepoint_other", point, "--name", name)
        done.refused(2, "name")
    hooks.run("detach", "one").ok()


def test_a_name_of_an_object_that_is_taken(hooks: CommandLine) -> None:
    hooks.run("load", "hooks.o").refused(2, "hooks", "unload it", "replace")
    hooks.run("detach", "hooks/xdp_count").refused(4, "hooks/xdp_count", "link list")
