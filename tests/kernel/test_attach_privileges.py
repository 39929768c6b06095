# SPDX-License-Identifier: Apache-2.0
"""Without privileges a hook names the capability that it lacks.

Hooks that the kernel gives to anyone who has the program's fd are not here: links to an
interface of the same namespace or a cgroup (but for packets) and raw tracepoints, whose
check is at loading.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import traceback
from collections.abc import Callable, Iterator

import pytest

from bpfd import attach, errors
from bpfd.kernel import binaries, tracefs
from bpfd.v1 import attach_pb2, common_pb2
from tests.kernel.hooks_support import (
    Programs,
    needs_root,
    own_cgroup,
    programs,
    veth_pair,
    xdp,
)
from tests.kernel.numbered import numbered

pytestmark = needs_root

NOBODY = 65534


@pytest.fixture
def loaded() -> Iterator[Programs]:
    with programs() as found:
        yield found


def as_nobody(call: Callable[[], object]) -> str:
    """Runs the call in a child without capabilities: what it raised, as text."""
    # Hooks are imported when they are used, from folders that nobody may be kept out of.
    for module in pkgutil.iter_modules(attach.__path__):
        importlib.import_module(f"bpfd.attach.{module.name}")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        text = "nothing was raised"
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            call()
        except errors.PermissionMissing as error:
            text = f"missing {error.needs}: {error}"
        except BaseException:
            text = traceback.format_exc()
        os.write(writer, text.encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read().decode()
    os.waitpid(child, 0)
    return text


def test_capabilities_are_named(loaded: Programs) -> None:
    tracefs.categories()
    with veth_pair() as pair, own_cgroup() as group:
        clsact = attach_pb2.Tc(
            interface=common_pb2.Interface(name="lo"),
            direction=attach_pb2.TC_DIRECTION_EGRESS,
            method=attach_pb2.TC_METHOD_CLSACT,
        )
        skb = attach_pb2.CgroupSkb(
            cgroup=common_pb2.Cgroup(path=group),
            direction=attach_pb2.CGROUP_SKB_DIRECTION_EGRESS,
        )
        sample = attach_pb2.PerfEvent(type=1, frequency=10)
        probe = attach_pb2.Uprobe(binary="libc.so.6", function="malloc")
        for program, point, capability in (
            ("xdp_count", xdp(pair), "CAP_SYS_ADMIN"),  # another network namespace
            ("tc_count", attach_pb2.AttachPoint(tc=clsact), "CAP_NET_ADMIN"),
            ("cgroup_count", attach_pb2.AttachPoint(cgroup_skb=skb), "CAP_NET_ADMIN"),
            ("sample", attach_pb2.AttachPoint(perf_event=sample), "CAP_PERFMON"),
            ("probe_entry", attach_pb2.AttachPoint(uprobe=probe), "CAP_PERFMON"),
        ):
            if program == "probe_entry" and not binaries.find("libc.so.6"):
                continue  # a board may have static programs alone

            def call(name: str = program, where: attach_pb2.AttachPoint = point) -> object:
                return attach.attach(loaded[name], where)

            assert as_nobody(call).startswith(f"missing {capability}: "), point


def test_capabilities_for_sockets() -> None:
    place = attach_pb2.SocketOfProcess(pid=os.getpid(), fd=3)
    by_process = attach_pb2.SocketFilter(process_socket=place)
    raw = attach_pb2.SocketFilter(raw=common_pb2.Interface(name="lo"))
    with numbered("sockets") as loaded:
        for point, capability in (
            (attach_pb2.AttachPoint(socket_filter=by_process), "CAP_SYS_PTRACE"),
            (attach_pb2.AttachPoint(socket_filter=raw), "CAP_NET_RAW"),
        ):

            def call(where: attach_pb2.AttachPoint = point) -> object:
                return attach.attach(loaded["nothing"], where)

            assert as_nobody(call).startswith(f"missing {capability}: "), point
    with numbered("sockmap") as loaded:
        point = attach_pb2.AttachPoint(sk_msg=attach_pb2.SkMsg())
        point.sk_msg.map.id = loaded.map_id("sockets")
        text = as_nobody(lambda: attach.attach(loaded["allow"], point))
        assert text.startswith("missing CAP_SYS_ADMIN: ")
