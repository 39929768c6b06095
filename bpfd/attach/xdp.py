# SPDX-License-Identifier: Apache-2.0
"""XDP: a program that sees every packet before the kernel allocates anything for it.

By bpf_link (kernel 5.9, aa8d3a716b59), so that nobody else can take the program away and
it goes when its owner goes.
"""

from __future__ import annotations

import errno

from bpfd import errors
from bpfd.attach.attachment import Attachment, Named, Program, hook
from bpfd.attach.chain.member import ACTIONS, PASS, Member
from bpfd.attach.failure import refused
from bpfd.attach.place import Place, located
from bpfd.attach.xdp_occupied import busy
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
    """One program alone on an interface, or in the chain of it; the method says the mode.

    An unspecified mode takes generic only where the driver has no XDP; a driver that has
    it and refuses (MTU, queues) is an error. Takes about 16 ms: the kernel waits for
    packets in flight. Raises NotFound, AttachBusy, InvalidArgument, NotSupported,
    PermissionMissing, KernelError; with a priority VerifierRejected and LimitExceeded, too.
    """
    return attach_as(program, point, Named())


def attach_as(program: Program, point: attach_pb2.Xdp, named: Named) -> Attachment:
    """The same for a link whose name and lifetime a chain is to know."""
    modes = _validated(program, point)
    with located(point.interface) as place:
        if not point.priority:
            fd, mode = _link(program.fd, place, modes, joins=False)
            return Attachment(HOOK, [fd], mode)
        return _in_chain(program, point, named, place, modes)


def _in_chain(
    program: Program,
    point: attach_pb2.Xdp,
    named: Named,
    place: Place,
    modes: tuple[str, ...],
) -> Attachment:
    from bpfd.attach.chain import chain as xdp_chain
    from bpfd.attach.chain import load as chain_load

    member = Member(
        point.priority,
        proceed_on(point),
        program.id,
        program.name,
        named.link,
        named.pinned,
    )
    with xdp_chain.locked():
        chain = xdp_chain.find(interface.xdp_state(place.ifindex).program_ids)
        if chain is not None and chain.mode not in modes:
            raise errors.InvalidArgument(
                "mode",
                f"the chain of {place} is {chain.mode}, and all its members are; leave the "
                f"mode unset, or say mode={chain.mode}",
            )
        if chain is not None:
            return xdp_chain.join(HOOK, chain, member, str(place))
        if there := interface.xdp_state(place.ifindex).program_ids:
            raise busy(place, there[0], joins=True)
        loaded = chain_load.load([chain_load.part(member)])
        try:
            link, mode = _link(loaded.fd, place, modes, joins=True)
        finally:
            loaded.close()
        return xdp_chain.start(HOOK, link, mode, member)


def _link(
    program_fd: int, place: Place, modes: tuple[str, ...], *, joins: bool
) -> tuple[int, str]:
    """(fd, mode) of a new link."""
    for mode in modes:
        try:
            fd = syscall.link_create(program_fd, place.ifindex, AttachType.XDP, _FLAGS[mode])
            return fd, mode
        except OSError as error:
            if error.errno in _NO_DRIVER and mode != modes[-1]:
                continue
            raise _explained(error, place, mode, joins=joins) from None
    raise AssertionError("every mode either attached or raised")


def _validated(program: Program, point: attach_pb2.Xdp) -> tuple[str, ...]:
    HOOK.check(program)
    if point.proceed_on and not point.priority:
        raise errors.InvalidArgument(
            "proceed_on", "a program without priority is alone; say its priority, too"
        )
    proceed_on(point)
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


def proceed_on(point: attach_pb2.Xdp) -> tuple[int, ...]:
    """Return codes on which the next member of a chain runs, ascending; PASS where none is
    said, as with libxdp. Raises InvalidArgument."""
    codes = tuple(sorted(set(point.proceed_on))) or (PASS,)
    if codes[-1] >= len(ACTIONS):
        raise errors.InvalidArgument(
            "proceed_on",
            f"{codes[-1]} is no return code of XDP; there is "
            + ", ".join(f"{code} {name}" for code, name in enumerate(ACTIONS)),
        )
    return codes


def _explained(error: OSError, place: Place, mode: str, *, joins: bool) -> errors.BpfdError:
    if error.errno in (errno.EBUSY, errno.EEXIST):
        for program_id in interface.xdp_state(place.ifindex).program_ids:
            return busy(place, program_id, joins=joins)
        return errors.AttachBusy(str(place), "a program that is gone by now: try again")
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
