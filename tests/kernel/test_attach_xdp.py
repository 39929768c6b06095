# SPDX-License-Identifier: Apache-2.0
"""XDP: packets are dropped, the interface is free afterwards, bad requests say why."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bpfd import attach, errors
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import ATOMIC
from bpfd.kernel import interface, netns, syscall
from bpfd.kernel.constants import XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE
from bpfd.kernel.libbpf import library
from bpfd.v1 import attach_pb2, common_pb2
from tests.kernel.hooks_support import Pair, Programs, needs_root, programs, veth_pair, xdp

pytestmark = needs_root


@pytest.fixture
def loaded() -> Iterator[Programs]:
    with programs() as found:
        yield found


@pytest.fixture
def pair(loaded: Programs) -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


def state(pair: Pair) -> interface.XdpState:
    with netns.entered(f"/run/netns/{pair.near}"):
        return interface.xdp_state(interface.index_of("hk0"))


@pytest.mark.parametrize(
    ("mode", "method"),
    [
        (attach_pb2.XDP_MODE_UNSPECIFIED, "native"),
        (attach_pb2.XDP_MODE_NATIVE, "native"),
        (attach_pb2.XDP_MODE_GENERIC, "generic"),
    ],
)
def test_packets_are_dropped_and_pass_again(
    loaded: Programs, pair: Pair, mode: attach_pb2.XdpMode.ValueType, method: str
) -> None:
    with pair.receiver() as receiver:
        attachment = attach.attach(loaded["xdp_drop"], xdp(pair, mode))
        assert attachment.method == method
        expected = loaded["xdp_drop"].id
        assert getattr(state(pair), method) == expected
        pair.send(b"dropped")
        attachment.close()
        pair.send(b"passed")
        assert receiver.recv(100) == b"passed"
    assert loaded.hits("xdp_drop") == 1
    assert state(pair).program_ids == ()


def test_unspecified_is_generic_where_the_driver_has_no_xdp(
    loaded: Programs, pair: Pair
) -> None:
    point = xdp(pair)
    point.xdp.interface.name = "lo"
    attachment = attach.attach(loaded["xdp_count"], point)
    assert attachment.method == "generic"
    attachment.close()
    point.xdp.mode = attach_pb2.XDP_MODE_NATIVE
    with pytest.raises(errors.NotSupported, match="generic works anywhere"):
        attach.attach(loaded["xdp_count"], point)


def test_interface_by_ifindex_and_namespace_by_path_and_pid(
    loaded: Programs, pair: Pair
) -> None:
    path = f"/run/netns/{pair.near}"
    child = subprocess.Popen(
        ["ip", "netns", "exec", pair.near, sys.executable, "-c", "print(1, flush=1); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        for where in (common_pb2.Netns(path=path), common_pb2.Netns(pid=child.pid)):
            point = attach_pb2.AttachPoint()
            point.xdp.interface.ifindex = pair.indexes()["hk0"]
            point.xdp.interface.netns.CopyFrom(where)
            attachment = attach.attach(loaded["xdp_count"], point)
            assert state(pair).native == loaded["xdp_count"].id
            attachment.close()
        child.communicate(b"\n")


def test_the_thread_is_back_in_its_namespace(loaded: Programs, pair: Pair) -> None:
    before = netns.own().inode
    attach.attach(loaded["xdp_count"], xdp(pair)).close()
    assert netns.own().inode == before
    point = xdp(pair)
    point.xdp.interface.name = "nowhere"
    with pytest.raises(errors.NotFound):
        attach.attach(loaded["xdp_count"], point)
    assert netns.own().inode == before


def test_update_exchanges_the_program_in_the_link(loaded: Programs, pair: Pair) -> None:
    with pair.receiver() as receiver:
        attachment = attach.attach(loaded["xdp_count"], xdp(pair))
        fds = list(attachment.fds)
        pair.send(b"one")
        assert receiver.recv(100) == b"one"
        assert attachment.update(loaded["xdp_drop"]) == ATOMIC
        pair.send(b"two")
        assert attachment.fds == fds
        assert attachment.update(loaded["xdp_count"]) == ATOMIC
        pair.send(b"three")
        assert receiver.recv(100) == b"three"
        attachment.close()
    assert (loaded.hits("xdp"), loaded.hits("xdp_drop")) == (2, 1)


def test_update_with_another_type_is_refused_and_the_old_stays(
    loaded: Programs, pair: Pair
) -> None:
    attachment = attach.attach(loaded["xdp_count"], xdp(pair))
    with pytest.raises(errors.InvalidArgument, match="type sched_cls, and xdp takes xdp"):
        attachment.update(loaded["tc_drop"])
    assert state(pair).native == loaded["xdp_count"].id
    attachment.close()


def test_taken_by_a_link_says_whose(loaded: Programs, pair: Pair) -> None:
    first = attach.attach(loaded["xdp_count"], xdp(pair))
    with pytest.raises(errors.AttachBusy) as caught:
        attach.attach(loaded["xdp_drop"], xdp(pair))
    busy = caught.value
    assert busy.program_id == loaded["xdp_count"].id
    assert busy.link_id == loaded.links()[0]
    assert f"program {busy.program_id} (xdp_count) by link {busy.link_id}" in busy.owner
    assert f"[{os.getpid()}]" in busy.owner
    assert f"hk0 in /run/netns/{pair.near}" in busy.point
    first.close()


def test_taken_by_a_pinned_link_names_the_pin(loaded: Programs, pair: Pair) -> None:
    first = attach.attach(loaded["xdp_count"], xdp(pair))
    pin = f"/sys/fs/bpf/hk-{os.getpid()}"
    syscall.obj_pin(first.fds[0], pin)
    try:
        first.release()
        with pytest.raises(errors.AttachBusy, match=pin):
            attach.attach(loaded["xdp_drop"], xdp(pair))
        adopt([syscall.obj_get(pin)]).close()
        assert state(pair).program_ids == ()
    finally:
        os.unlink(pin)


@pytest.mark.parametrize("flags", [XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE])
def test_taken_without_a_link_says_how_to_free_it(
    loaded: Programs, pair: Pair, flags: int
) -> None:
    with netns.entered(f"/run/netns/{pair.near}"):
        ifindex = interface.index_of("hk0")
        assert library().bpf_xdp_attach(ifindex, loaded["xdp_drop"].fd, flags, None) == 0
    with pytest.raises(errors.AttachBusy, match="xdp off") as caught:
        attach.attach(loaded["xdp_count"], xdp(pair))
    assert (caught.value.program_id, caught.value.link_id) == (loaded["xdp_drop"].id, 0)


def test_missing_interface_and_namespace(loaded: Programs, pair: Pair) -> None:
    point = xdp(pair)
    point.xdp.interface.name = "hk9"
    with pytest.raises(errors.NotFound) as caught:
        attach.attach(loaded["xdp_count"], point)
    assert (caught.value.kind, caught.value.near) == ("interface", ["hk0"])
    assert pair.near in caught.value.hint

    point = xdp(pair)
    point.xdp.interface.netns.name = pair.near + "x"
    with pytest.raises(errors.NotFound) as caught:
        attach.attach(loaded["xdp_count"], point)
    assert caught.value.near[0] == pair.near

    point.xdp.interface.netns.path = "/etc/passwd"
    with pytest.raises(errors.InvalidArgument, match="not a network namespace"):
        attach.attach(loaded["xdp_count"], point)
    point.xdp.interface.netns.pid = 1 << 30
    with pytest.raises(errors.NotFound, match="network namespace"):
        attach.attach(loaded["xdp_count"], point)


def test_bad_requests_touch_nothing(loaded: Programs, pair: Pair) -> None:
    point = xdp(pair)
    with pytest.raises(errors.InvalidArgument, match="tc_count is a program of type sched_cls"):
        attach.attach(loaded["tc_count"], point)
    point.xdp.proceed_on.append(2)
    with pytest.raises(errors.InvalidArgument, match="say its priority"):
        attach.attach(loaded["xdp_count"], point)
    point = xdp(pair, attach_pb2.XDP_MODE_OFFLOAD)
    with pytest.raises(errors.NotSupported, match="OFFLOAD"):
        attach.attach(loaded["xdp_count"], point)
    with pytest.raises(errors.InvalidArgument, match="name or ifindex"):
        attach.attach(
            loaded["xdp_count"],
            attach_pb2.AttachPoint(xdp=attach_pb2.Xdp(mode=attach_pb2.XDP_MODE_NATIVE)),
        )
    assert state(pair).program_ids == ()


def test_a_driver_that_refuses_says_what_to_do(loaded: Programs, pair: Pair) -> None:
    subprocess.run(["ip", "-n", pair.far, "link", "set", "hk1", "mtu", "9000"], check=True)
    with pytest.raises(errors.KernelError, match="smaller MTU"):
        attach.attach(loaded["xdp_count"], xdp(pair))
    assert state(pair).program_ids == ()


def test_an_interface_that_goes_takes_the_link_along(loaded: Programs, pair: Pair) -> None:
    attachment = attach.attach(loaded["xdp_count"], xdp(pair))
    pair.ip("link", "del", "hk0")
    with pytest.raises(errors.KernelError, match="is gone"):
        attachment.update(loaded["xdp_drop"])
    attachment.close()


def test_a_pinned_link_is_adopted(loaded: Programs, pair: Pair) -> None:
    first = attach.attach(loaded["xdp_count"], xdp(pair, attach_pb2.XDP_MODE_GENERIC))
    pin = f"/sys/fs/bpf/hk-{os.getpid()}"
    syscall.obj_pin(first.fds[0], pin)
    try:
        first.release()
        adopted = adopt([syscall.obj_get(pin)])
    finally:
        os.unlink(pin)
    assert adopted.method == "generic"
    point = find_point(adopted.fds)
    assert point.xdp.interface.ifindex == pair.indexes()["hk0"]
    assert point.xdp.mode == attach_pb2.XDP_MODE_GENERIC
    with netns.entered(point.xdp.interface.netns.path):
        assert socket.if_indextoname(point.xdp.interface.ifindex) == "hk0"
    assert adopted.update(loaded["xdp_drop"]) == ATOMIC
    assert state(pair).generic == loaded["xdp_drop"].id
    adopted.close()
    assert state(pair).program_ids == ()
