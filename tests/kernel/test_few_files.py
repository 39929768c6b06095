# SPDX-License-Identifier: Apache-2.0
"""A process that runs out of file descriptors anywhere in the middle of attaching: an error
that says so, nothing attached, and no file left open."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bpfd import attach, errors
from bpfd.attach.attachment import Program
from bpfd.kernel import elf_object
from bpfd.kernel.load_options import LoadOptions
from bpfd.v1 import attach_pb2, common_pb2
from tests.kernel.clang import compiled
from tests.kernel.hooks_support import (
    Pair,
    Programs,
    needs_root,
    open_fds,
    own_cgroup,
    programs,
    veth_pair,
)

pytestmark = needs_root

MOST = 12
"""More files than any hook has open at once, but for perf events of many CPUs."""


@pytest.fixture(scope="module")
def loaded() -> Iterator[Programs]:
    with programs() as found:
        yield found


@pytest.fixture(scope="module")
def pair(loaded: Programs) -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


@contextmanager
def files_left(count: int) -> Iterator[None]:
    """So many more can be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def points(pair: Pair, cgroup: str) -> dict[str, attach_pb2.AttachPoint]:
    """A place for each program."""
    where = pair.interface()
    netns = common_pb2.Netns(name=pair.near)
    ingress = attach_pb2.TC_DIRECTION_INGRESS
    clsact = attach_pb2.TC_METHOD_CLSACT
    group = common_pb2.Cgroup(path=cgroup)
    binary = "/proc/self/exe"
    return {
        "xdp_count": attach_pb2.AttachPoint(xdp=attach_pb2.Xdp(interface=where)),
        "tc_count": attach_pb2.AttachPoint(
            tc=attach_pb2.Tc(interface=where, direction=ingress)
        ),
        "tc_drop": attach_pb2.AttachPoint(
            tc=attach_pb2.Tc(interface=where, direction=ingress, method=clsact)
        ),
        "cgroup_count": attach_pb2.AttachPoint(cgroup_skb=attach_pb2.CgroupSkb(cgroup=group)),
        "sock_ops_count": attach_pb2.AttachPoint(sock_ops=attach_pb2.SockOps(cgroup=group)),
        "tracepoint": attach_pb2.AttachPoint(
            tracepoint=attach_pb2.Tracepoint(category="sched", name="sched_process_exit")
        ),
        "raw_tracepoint": attach_pb2.AttachPoint(
            raw_tracepoint=attach_pb2.RawTracepoint(name="sys_enter")
        ),
        "probe_entry": attach_pb2.AttachPoint(
            uprobe=attach_pb2.Uprobe(binary=os.path.realpath(binary), function="main")
        ),
        "sample": attach_pb2.AttachPoint(
            perf_event=attach_pb2.PerfEvent(type=1, config=0, frequency=10)
        ),
        "xdp_drop": attach_pb2.AttachPoint(
            xdp=attach_pb2.Xdp(
                interface=common_pb2.Interface(name="lo", netns=netns),
                mode=attach_pb2.XDP_MODE_GENERIC,
            )
        ),
    }


def more_points(pair: Pair) -> dict[tuple[str, ...], attach_pb2.AttachPoint]:
    """Places for programs of other objects: (object, defines..., program)."""
    netns = common_pb2.Netns(name=pair.near)
    filtered = attach_pb2.Netfilter(protocol_family=2, hook=1, priority=5, netns=netns)
    route = attach_pb2.Lwt(interface=pair.interface(), prefix="10.77.0.0/16")
    return {
        ("netns_hooks", "to_listener"): attach_pb2.AttachPoint(
            sk_lookup=attach_pb2.SkLookup(netns=netns)
        ),
        ("netns_hooks", "one_flow"): attach_pb2.AttachPoint(
            flow_dissector=attach_pb2.FlowDissector(netns=netns)
        ),
        ("netfilter", "accepts"): attach_pb2.AttachPoint(netfilter=filtered),
        ("lwt", "out_drops"): attach_pb2.AttachPoint(lwt=route),
        ("iterators", "TASK", "program"): attach_pb2.AttachPoint(
            iterator=attach_pb2.Iterator(tid=os.getpid())
        ),
    }


def outcome(program: Program, point: attach_pb2.AttachPoint, left: int) -> bool:
    """Whether it was attached with so many files left; it is detached again."""
    before = open_fds()
    failed: BaseException | None = None
    try:
        with files_left(left):
            attachment = attach.attach(program, point)
    except (OSError, errors.BpfdError) as error:
        failed = error
    else:
        attachment.close()
    said = f"{program.name}, {left} files: {type(failed).__name__} {failed}"
    assert failed is None or "Too many open files" in str(failed), said
    assert open_fds() == before, f"{said}; some are left open"
    return failed is None


def check(program: Program, point: attach_pb2.AttachPoint) -> None:
    """With no file, with one, with two, ... and with as many as it takes."""
    attach.attach(program, point).close()  # what is read once has been read
    outcomes = [outcome(program, point, left) for left in range(MOST)]
    assert not outcomes[0], program.name
    assert outcomes[-1], program.name


def test_no_file_is_left_open(loaded: Programs, pair: Pair) -> None:
    for kind in attach.kinds():
        attach.hook_of(kind)  # importing opens files, too
    with own_cgroup() as cgroup:
        for name, point in points(pair, cgroup).items():
            check(loaded[name], point)
            assert loaded.links_become(0), name


def test_nor_of_others(pair: Pair) -> None:
    for (source, *defines, name), point in more_points(pair).items():
        try:
            found = elf_object.load(source, compiled(source, *defines), LoadOptions())
        except errors.NotSupported:
            continue
        each = found.programs[name]
        try:
            check(Program(each.fd, each.id, name, each.type, each.expected_attach_type), point)
        except errors.NotSupported:
            continue
        finally:
            found.close()
