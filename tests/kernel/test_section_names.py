# SPDX-License-Identifier: Apache-2.0
"""An object with a program in every section that libbpf knows: each is loaded and attached by
its section alone, or it is said what to give, or what this kernel lacks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from bpfctl.cli.plan import Program, make
from bpfctl.config import LocalTarget
from bpfctl.errors import BpfctlError, InvalidArgument, NotFound, NotSupported
from bpfctl.objects import LoadSettings
from bpfctl.target import Target

from tests.clang import CLANG
from tests.kernel.clang import clang
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import own_cgroup, veth_pair
from tests.kernel.probed_library import build
from tests.kernel.section_names import LIBBPF, RETURNS_ONE
from tests.kernel.usdt_library import SOURCE as PROBED

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")

HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

char LICENSE[] SEC("license") = "GPL";
"""

EVERYWHERE = {
    *("socket", "xdp", "xdp.frags", "tc/ingress", "tc/egress", "sockops", "sk_msg"),
    *("sk_skb/stream_parser", "sk_skb/stream_verdict", "sk_lookup", "flow_dissector"),
    *("cgroup_skb/ingress", "cgroup_skb/egress", "cgroup/sock", "cgroup/sock_create"),
    *("cgroup/sock_release", "cgroup/post_bind4", "cgroup/post_bind6", "cgroup/bind4"),
    *("cgroup/bind6", "cgroup/dev", "cgroup/getsockopt", "cgroup/setsockopt"),
    *(f"cgroup/{call}4" for call in ("connect", "sendmsg", "recvmsg", "getpeername")),
    *(f"cgroup/{call}6" for call in ("connect", "sendmsg", "recvmsg", "getsockname")),
    *("raw_tp/sched_process_exit", "raw_tracepoint/sched_process_exit"),
    *("tp/sched/sched_process_exit", "tracepoint/sched/sched_process_exit"),
    *("uprobe/@:um_one", "uretprobe/@:um_one", "uprobe.s/@:um_one", "usdt/@:bpfd:work"),
}
"""Sections whose programs every kernel that the daemon runs on attaches."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    functions = "int um_one(int a) { return a; }\nint um_two(int a) { return a; }\n"
    return build(tmp_path_factory.mktemp("library"), "sections", functions + PROBED)


@pytest.fixture(scope="module")
def elf(library: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program called p0, p1, ... for each section; none is loaded unless asked for."""
    folder = tmp_path_factory.mktemp("sections")
    lines = [HEAD]
    for index, name in enumerate(LIBBPF):
        section = name.replace("@", library)
        value = int(any(each in section for each in RETURNS_ONE))
        lines.append(f'SEC("?{section}") int p{index}(void *ctx) {{ return {value}; }}')
    (folder / "s.bpf.c").write_text("\n".join(lines))
    words = [CLANG, "-g", "-O2", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu"]
    subprocess.run([*words, "-c", "s.bpf.c", "-o", "s.bpf.o"], check=True, cwd=folder)
    return (folder / "s.bpf.o").read_bytes()


@pytest.fixture
def places() -> Iterator[dict[str, str]]:
    """What sections leave open."""
    with ExitStack() as stack:
        pair = stack.enter_context(veth_pair())
        yield {
            "interface": f"hk0,netns={pair.near}",
            "netns": pair.near,
            "cgroup": stack.enter_context(own_cgroup()),
            "map": "sections/sockets",
        }


def outcome(target: Target, elf: bytes, name: str, places: dict[str, str]) -> str:
    """ "attached", or what was said."""
    with target.session("sections") as session:
        loaded = target.load(
            elf, "sections", session=session, settings=LoadSettings(also=[name])
        )
        (program,) = loaded.message.programs
        planned = make([Program(name, program.section)], [], places)
        if not planned.attach:
            return f"left: {planned.left[0][1]}"
        link = loaded.attach(name, planned.attach[0][1])
        assert link.link_ids or link.method in ("socket option", "packet socket"), link
        return "attached"


def test_every_section_is_attached_or_says_what_it_needs(
    daemon: RunningDaemon, elf: bytes, library: str, places: dict[str, str]
) -> None:
    said: dict[str, str] = {}
    unclear = {}
    with Target.open("daemon", LocalTarget(str(daemon.socket))) as target:
        for index, section in enumerate(LIBBPF):
            try:
                said[section] = outcome(target, elf, f"p{index}", places)
            except (NotSupported, InvalidArgument, NotFound) as error:
                said[section] = str(error)
            except BpfctlError as error:
                unclear[section] = f"{type(error).__name__}: {error}"
        assert target.objects() == []
    for section, text in said.items():
        print(f"{section}: {text}")
    assert not unclear, "\n".join(f"{name}: {text}" for name, text in unclear.items())
    assert {section for section, text in said.items() if text == "attached"} >= EVERYWHERE
