# SPDX-License-Identifier: Apache-2.0
"""cgroup_skb and sock_ops: what a process of the cgroup sends and connects."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bpfd import attach, errors
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import ATOMIC
from bpfd.kernel import cgroup, mounts, syscall
from bpfd.kernel.constants import AttachType
from bpfd.v1 import attach_pb2, common_pb2
from tests.kernel.hooks_support import Programs, in_cgroup, needs_root, own_cgroup, programs

pytestmark = needs_root

SEND = """
import socket
inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
inside.bind(("127.0.0.1", 0))
inside.sendto(b"x", inside.getsockname())
inside.settimeout(20)
inside.recv(10)
"""
"""Fails (EPERM) when the packet is dropped on its way out."""

CONNECT = """
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
"""


@pytest.fixture
def loaded() -> Iterator[Programs]:
    with programs() as found:
        yield found


@pytest.fixture
def group(loaded: Programs) -> Iterator[str]:
    with own_cgroup() as found:
        yield found


def egress(path: str, order: attach_pb2.Order | None = None) -> attach_pb2.AttachPoint:
    point = attach_pb2.CgroupSkb(
        cgroup=common_pb2.Cgroup(path=path),
        direction=attach_pb2.CGROUP_SKB_DIRECTION_EGRESS,
        order=order,
    )
    return attach_pb2.AttachPoint(cgroup_skb=point)


def test_packets_of_the_cgroup_are_dropped(loaded: Programs, group: str) -> None:
    attachment = attach.attach(loaded["cgroup_drop"], egress(group))
    assert attachment.method == "cgroup link"
    result = in_cgroup(group, SEND)
    assert "PermissionError" in result.stderr
    assert loaded.hits("cgroup") == 1
    attachment.close()
    assert in_cgroup(group, SEND).returncode == 0
    assert loaded.hits("cgroup") == 1


def test_relative_path_id_and_direction_from_the_program(loaded: Programs, group: str) -> None:
    relative = os.path.relpath(group, cgroup.root())
    by_id = egress("x")
    by_id.cgroup_skb.cgroup.id = os.stat(group).st_ino
    implied = egress(group)
    implied.cgroup_skb.direction = attach_pb2.CGROUP_SKB_DIRECTION_UNSPECIFIED
    for point in (egress(relative), by_id, implied):
        attachment = attach.attach(loaded["cgroup_count"], point)
        assert in_cgroup(group, SEND).returncode == 0
        attachment.close()
    assert loaded.hits("other") == 3


def test_two_programs_run_both(loaded: Programs, group: str) -> None:
    first = attach.attach(loaded["cgroup_count"], egress(group))
    second = attach.attach(loaded["cgroup_drop"], egress(group))
    assert in_cgroup(group, SEND).returncode != 0
    assert (loaded.hits("other"), loaded.hits("cgroup")) == (1, 1)
    second.close()
    first.close()


def test_update_is_atomic(loaded: Programs, group: str) -> None:
    attachment = attach.attach(loaded["cgroup_drop"], egress(group))
    fds = list(attachment.fds)
    assert attachment.update(loaded["cgroup_count"]) == ATOMIC
    assert attachment.fds == fds
    assert in_cgroup(group, SEND).returncode == 0
    assert (loaded.hits("other"), loaded.hits("cgroup")) == (1, 0)
    attachment.close()


def test_sock_ops_sees_a_connection(loaded: Programs, group: str) -> None:
    point = attach_pb2.AttachPoint(
        sock_ops=attach_pb2.SockOps(cgroup=common_pb2.Cgroup(path=group))
    )
    attachment = attach.attach(loaded["sock_ops_count"], point)
    assert in_cgroup(group, CONNECT).returncode == 0
    seen = loaded.hits("sock_ops")
    assert seen > 0
    attachment.close()
    assert in_cgroup(group, CONNECT).returncode == 0
    assert loaded.hits("sock_ops") == seen


def test_order_where_the_kernel_has_it(loaded: Programs, group: str) -> None:
    first = attach.attach(loaded["cgroup_count"], egress(group))
    ids = loaded["cgroup_drop"].id, loaded["cgroup_count"].id
    link = loaded.links()[0]
    for order, expected in (
        (attach_pb2.Order(before_program_id=ids[1]), [*ids]),
        (attach_pb2.Order(after_program_id=ids[1]), [ids[1], ids[0]]),
        (attach_pb2.Order(before_link_id=link), [*ids]),
        (attach_pb2.Order(first=True), [*ids]),
    ):
        try:
            second = attach.attach(loaded["cgroup_drop"], egress(group, order))
        except errors.NotSupported as error:
            first.close()
            pytest.skip(str(error))
        assert _attached(group) == expected
        second.close()
    for order in (
        attach_pb2.Order(after_program_id=loaded["sock_ops_count"].id),
        attach_pb2.Order(after_link_id=1 << 30),
    ):
        with pytest.raises(errors.NotFound, match="not attached to cgroup_skb of"):
            attach.attach(loaded["cgroup_drop"], egress(group, order))
    stale = attach_pb2.Order(expected_revision=1 << 40)
    with pytest.raises(errors.KernelError, match="changed since"):
        attach.attach(loaded["cgroup_drop"], egress(group, stale))
    first.close()


def _attached(path: str) -> list[int]:
    fd = cgroup.open_path(path)
    try:
        return syscall.prog_query(fd, AttachType.CGROUP_INET_EGRESS)[0]
    finally:
        os.close(fd)


def test_missing_cgroup_names_those_near(loaded: Programs, group: str) -> None:
    with pytest.raises(errors.NotFound) as caught:
        attach.attach(loaded["cgroup_drop"], egress(group + "x"))
    assert caught.value.near[0] == group
    assert cgroup.root() in caught.value.hint
    point = egress("x")
    point.cgroup_skb.cgroup.id = 1 << 40
    with pytest.raises(errors.NotFound, match="no cgroup has this id"):
        attach.attach(loaded["cgroup_drop"], point)


def test_a_directory_elsewhere_names_the_right_mount(loaded: Programs, group: str) -> None:
    paths = ["/tmp", *(f"/sys/fs/cgroup/{each}" for each in ("memory", "cpu"))]
    for path in filter(os.path.isdir, paths):
        if os.stat(path).st_dev == os.stat(cgroup.root()).st_dev:
            continue
        with pytest.raises(errors.InvalidArgument, match=f"mounted at {cgroup.root()}"):
            attach.attach(loaded["cgroup_drop"], egress(path))
    with pytest.raises(errors.InvalidArgument, match="not a directory"):
        attach.attach(loaded["cgroup_drop"], egress(f"{group}/cgroup.procs"))


def test_no_cgroup2_at_all(loaded: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "find", lambda *_: "")
    with pytest.raises(errors.NotSupported, match="mount -t cgroup2"):
        attach.attach(loaded["cgroup_drop"], egress("/x"))


def test_bad_requests(loaded: Programs, group: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="cgroup_skb takes cgroup_skb"):
        attach.attach(loaded["sock_ops_count"], egress(group))
    with pytest.raises(errors.InvalidArgument, match="path or id"):
        attach.attach(
            loaded["cgroup_drop"],
            attach_pb2.AttachPoint(
                cgroup_skb=attach_pb2.CgroupSkb(
                    direction=attach_pb2.CGROUP_SKB_DIRECTION_EGRESS
                )
            ),
        )
    with pytest.raises(errors.InvalidArgument, match="empty"):
        attach.attach(loaded["cgroup_drop"], egress(""))


def test_a_pinned_link_is_adopted(loaded: Programs, group: str) -> None:
    first = attach.attach(loaded["cgroup_drop"], egress(group))
    pin = f"/sys/fs/bpf/hk-{os.getpid()}"
    syscall.obj_pin(first.fds[0], pin)
    try:
        first.release()
        assert in_cgroup(group, SEND).returncode != 0
        adopted = adopt([syscall.obj_get(pin)])
    finally:
        os.unlink(pin)
    assert find_point(adopted.fds) == egress(group)
    assert adopted.update(loaded["cgroup_count"]) == ATOMIC
    assert in_cgroup(group, SEND).returncode == 0
    adopted.close()
