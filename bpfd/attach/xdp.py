# SPDX-License-Identifier: Apache-2.0
"""XDP: a program that sees every packet before the kernel allocates anything for it.

By bpf_link (kernel 5.9, aa8d3a716b59), so that nobody else can take the program away and
it goes when its owner goes.
"""

from __future__ import annotations

import errno

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.failure import refused
from bpfd.attach.owner import busy_interface
from bpfd.attach.place import Place, located
from bpfd.kernel import interface, syscall
from bpfd.kernel.constants import (
    ENOTSUPP,
    XDP_FLAGS_DRV_MODE,
    XDP_FLAGS_SKB_MODE,
    AttachType,
    ProgType,
)
from bpfd.v1 import attach_pb2

HOOK = hook("xdp", {ProgType.XDP}, "CAP_NET_ADMIN")

NATIVE, GENERIC = "native", "generic"
_FLAGS = {NATIVE: XDP_FLAGS_DRV_MODE, GENERIC: XDP_FLAGS_SKB_MODE}
_NO_DRIVER = (errno.EOPNOTSUPP, ENOTSUPP)
_MODES = {
    attach_pb2.XDP_MODE_UNSPECIFIED: (NATIVE, GENERIC),
    attach_pb2.XDP_MODE_NATIVE: (NATIVE,),
    attach_pb2.XDP_MODE_GENERIC: (GENERIC,),
}


def attach(program: Program, point: attach_pb2.Xdp) -> Attachment:
    """One program alone on an interface; the method is "native" or "generic".

    An unspecified mode takes generic only where the driver has no XDP; a driver that has
    it and refuses (MTU, queues) is an error. Takes about 16 ms: the kernel waits for
    packets in flight. Raises NotFound, AttachBusy, InvalidArgument, NotSupported,
    PermissionMissing, KernelError.
    """
    modes = _validated(program, point)
    with located(point.interface) as place:
        for mode in modes:
            try:
                fd = syscall.link_create(
                    program.fd, place.ifindex, AttachType.XDP, _FLAGS[mode]
                )
                return Attachment(HOOK, [fd], mode)
            except OSError as error:
                if error.errno in _NO_DRIVER and mode != modes[-1]:
                    continue
                raise _explained(error, place, mode) from None
    raise AssertionError("every mode either attached or raised")


def _validated(program: Program, point: attach_pb2.Xdp) -> tuple[str, ...]:
    HOOK.check(program)
    if point.priority or point.proceed_on:
        raise errors.NotSupported(
            "chains of XDP programs", needs="leave priority and proceed_on unset"
        )
    if program.expected_attach_type in (AttachType.XDP_DEVMAP, AttachType.XDP_CPUMAP):
        raise errors.InvalidArgument(
            "program",
            f"{program.name} was loaded for a devmap or cpumap (section xdp/devmap, "
            "xdp/cpumap) and cannot be attached to an interface",
        )
    if point.mode not in _MODES:
        raise errors.NotSupported(
            f"XDP mode {attach_pb2.XdpMode.Name(point.mode)}"
            if point.mode in attach_pb2.XdpMode.values()
            else f"XDP mode {point.mode}",
            needs="native or generic",
        )
    return _MODES[point.mode]


def _explained(error: OSError, place: Place, mode: str) -> errors.BpfdError:
    if error.errno in (errno.EBUSY, errno.EEXIST):
        state = interface.xdp_state(place.ifindex)
        for program_id in state.program_ids:
            return busy_interface(str(place), program_id, place.ifindex)
    if error.errno in _NO_DRIVER and mode == NATIVE:
        return errors.NotSupported(
            f"native XDP on {place}", needs="a driver with XDP; the mode generic works anywhere"
        )
    driver = (
        f"{place} refused the program: smaller MTU, fewer queues or larger headroom may be "
        "needed (`dmesg` says which); the mode generic works anywhere"
    )
    hints = {"EINVAL": driver, "ERANGE": driver, "ENOSPC": driver, "EOPNOTSUPP": driver}
    operation = f"attaching to XDP ({mode}) of {place}"
    return refused(error, operation, HOOK.capability, hints if mode == NATIVE else {})
