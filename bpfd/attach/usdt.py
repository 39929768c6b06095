# SPDX-License-Identifier: Apache-2.0
"""usdt: a probe that the author of a program or library put into it, at all its places.

Where the arguments are is different at each place; the programs of bpf/usdt.bpf.h read it
from a map of their own, which is filled here whoever loaded them.
"""

from __future__ import annotations

import platform

from bpfd import errors
from bpfd.attach.attachment import Attachment, Hook, Program, hook
from bpfd.attach.binary import Binary, opened_binary
from bpfd.attach.failure import near
from bpfd.attach.perf_link import PERF_IOCTL
from bpfd.attach.probes import Place, Where, link_places
from bpfd.attach.usdt_arguments import spec
from bpfd.attach.usdt_specs import Taken, map_of, take
from bpfd.kernel.constants import ProgType
from bpfd.kernel.usdt_notes import Probe, probes
from bpfd.v1 import attach_pb2, links_pb2

HOOK = hook("usdt", {ProgType.KPROBE}, "CAP_PERFMON")

_WIDE = ("x86_64", "aarch64", "riscv64", "ppc64", "s390x", "loongarch64")


def attach(program: Program, point: attach_pb2.Usdt) -> Attachment:
    """The method is "uprobe multi link", or "perf link" with a link for each place.

    The cookie is what bpf_usdt_cookie() returns, and in a program that asks for no argument
    bpf_get_attach_cookie(). Raises NotFound, InvalidArgument, NotSupported, LimitExceeded,
    PermissionMissing, KernelError.
    """
    HOOK.check(program)
    for field in ("provider", "name"):
        if not getattr(point, field) or "\0" in getattr(point, field):
            raise errors.InvalidArgument(f"usdt.{field}", "is empty or has a zero byte")
    with opened_binary(point.binary, point.pid, HOOK.name) as found:
        there = _probes(found, point.provider, point.name)
        machine, bits = found.file.machine, found.file.bits
    where = Where(found.real, f"{found.path}:{point.provider}:{point.name}", point.pid)
    specs_map = map_of(program.fd)
    if specs_map is None:
        places = [Place(each.offset, each.semaphore, point.cookie) for each in there]
        return _attached(program, point, where, places, None)
    _check_bits(bits)
    taken = take(specs_map, [spec(each.arguments, machine, point.cookie) for each in there])
    try:
        places = [
            Place(each.offset, each.semaphore, number)
            for each, number in zip(there, taken.numbers, strict=True)
        ]
        return _attached(program, point, where, places, taken)
    except BaseException:
        taken.give_back()
        raise


class UsdtAttachment(Attachment):
    """Links at the places of a probe, and the entries that say where the arguments are."""

    def __init__(
        self,
        hook: Hook,
        fds: list[int],
        method: str,
        point: attach_pb2.Usdt,
        taken: Taken | None,
    ) -> None:
        super().__init__(
            hook, fds, method, again=self._attach_again, pinnable=method != PERF_IOCTL
        )
        self._point = point
        self._taken = taken

    def _attach_again(self, program: Program) -> Attachment:
        new = attach(program, self._point)
        assert isinstance(new, UsdtAttachment)
        self._taken = new._taken
        return new

    def update(self, program: Program) -> links_pb2.UpdateMethod.ValueType:
        """As every attachment; entries of the old program stay until it is detached."""
        old = self._taken
        method = super().update(program)
        if old is not None and old is not self._taken:
            old.give_back()
        return method

    def close(self) -> None:
        """Detaches; the entries become free."""
        super().close()
        if self._taken is not None:
            self._taken.give_back()
            self._taken = None


def _attached(
    program: Program,
    point: attach_pb2.Usdt,
    where: Where,
    places: list[Place],
    taken: Taken | None,
) -> Attachment:
    fds, method = link_places(HOOK, program, where, places)
    attachment = UsdtAttachment(HOOK, fds, method, point, None)
    if taken is not None and method == PERF_IOCTL:
        attachment.close()
        raise errors.NotSupported("arguments of USDT probes", "5.15", "cookies of perf events")
    attachment._taken = taken
    return attachment


def _check_bits(bits: int) -> None:
    if bits == 32 and platform.machine().startswith(_WIDE):
        raise errors.NotSupported(
            "arguments of USDT probes of 32-bit programs on a 64-bit kernel",
            needs="a program that asks for none",
        )


def _probes(found: Binary, provider: str, name: str) -> list[Probe]:
    every = list(probes(found.file))
    there = [each for each in every if (each.provider, each.name) == (provider, name)]
    if not there:
        known = {f"{each.provider}:{each.name}" for each in every}
        hint = f"{found.path} has {len(known)} probes" if known else f"{found.path} has none"
        raise errors.NotFound(
            "USDT probe", f"{provider}:{name}", near(f"{provider}:{name}", known), hint
        )
    lost = [each for each in there if each.offset < 0 or each.semaphore < 0]
    if lost:
        raise errors.InvalidArgument(
            "usdt.binary", f"{found.path} says that {provider}:{name} is outside of it"
        )
    return there
