# SPDX-License-Identifier: Apache-2.0
"""From a link on a cgroup to its hook and attach point."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bpfd.attach import (
    cgroup_device,
    cgroup_skb,
    cgroup_sock,
    cgroup_sock_addr,
    cgroup_sockopt,
    cgroup_sysctl,
    lsm_cgroup,
    sock_ops,
)
from bpfd.attach.attachment import Hook
from bpfd.kernel.constants import AttachType
from bpfd.kernel.info import LinkInfo
from bpfd.v1 import attach_pb2


def _known() -> Iterator[tuple[int, Hook, str, int]]:
    """(attach type, hook, field of its message, value of the field)."""
    for direction, number in cgroup_skb.TYPES.items():
        yield number, cgroup_skb.HOOK, "direction", direction
    for module in (cgroup_sock, cgroup_sock_addr):
        for value, number in module.TYPES.items():
            yield number, module.HOOK, "hook", value
    yield cgroup_sockopt.GET, cgroup_sockopt.HOOK, "set", False
    yield cgroup_sockopt.SET, cgroup_sockopt.HOOK, "set", True
    yield AttachType.CGROUP_SOCK_OPS, sock_ops.HOOK, "", 0
    yield AttachType.CGROUP_SYSCTL, cgroup_sysctl.HOOK, "", 0
    yield AttachType.CGROUP_DEVICE, cgroup_device.HOOK, "", 0
    yield AttachType.LSM_CGROUP, lsm_cgroup.HOOK, "", 0


_BY_ATTACH_TYPE = {number: (hook, field, value) for number, hook, field, value in _known()}


def hook_of(attach_type: int) -> Hook | None:
    """The hook of a link; None: the kernel has newer ones."""
    found = _BY_ATTACH_TYPE.get(attach_type)
    return found[0] if found else None


def attach_types(program_types: Collection[int]) -> list[int]:
    """The hooks that programs of these types may be attached to, in the kernel's order."""
    return sorted(
        number
        for number, (hook, _, _) in _BY_ATTACH_TYPE.items()
        if not hook.types.isdisjoint(program_types)
    )


def fill(info: LinkInfo, point: attach_pb2.AttachPoint) -> None:
    """Sets where a link is attached; leaves the point empty for an unknown hook."""
    found = _BY_ATTACH_TYPE.get(-1 if info.attach_type is None else info.attach_type)
    if found is None:
        return
    hook, field, value = found
    message = getattr(point, hook.name)
    message.cgroup.id = info.cgroup_id
    if field:
        setattr(message, field, value)
