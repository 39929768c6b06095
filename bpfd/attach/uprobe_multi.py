# SPDX-License-Identifier: Apache-2.0
"""uprobe_multi: many functions of a program or library in user space.

The functions come by name, by a pattern that is resolved here, or as offsets in the file.
"""

from __future__ import annotations

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.binary import Binary, opened_binary
from bpfd.attach.failure import near
from bpfd.attach.function import resolve
from bpfd.attach.perf_link import PERF_IOCTL
from bpfd.attach.probes import Place, Where, link_places
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("uprobe_multi", {ProgType.KPROBE}, "CAP_PERFMON")


def attach(program: Program, point: attach_pb2.UprobeMulti) -> Attachment:
    """The method is "uprobe multi link", or "perf link" with a link for each function.

    Raises NotFound, InvalidArgument, NotSupported, LimitExceeded, PermissionMissing,
    KernelError.
    """
    HOOK.check(program)
    if point.session and point.ret:
        raise errors.InvalidArgument("uprobe_multi.session", "sees entry and return by itself")
    with opened_binary(point.binary, point.pid, HOOK.name) as found:
        offsets = _offsets(found, point)
    where = Where(found.real, _shown(found.path, point), point.pid, point.ret)
    fds, method = link_places(HOOK, program, where, _places(offsets, point), point.session)
    return Attachment(
        HOOK,
        fds,
        method,
        again=lambda other: attach(other, point),
        pinnable=method != PERF_IOCTL,
    )


def _shown(path: str, point: attach_pb2.UprobeMulti) -> str:
    return f"{path}:{point.pattern or ':'.join(point.functions) or 'offsets'}"[:200]


def _places(offsets: list[int], point: attach_pb2.UprobeMulti) -> list[Place]:
    for name in ("cookies", "semaphore_offsets"):
        given = len(getattr(point, name))
        if given not in (0, len(offsets)):
            raise errors.InvalidArgument(
                f"uprobe_multi.{name}", f"{given} for {len(offsets)} functions"
            )
    cookies = list(point.cookies) or [0] * len(offsets)
    semaphores = list(point.semaphore_offsets) or [0] * len(offsets)
    return [Place(*each) for each in zip(offsets, semaphores, cookies, strict=True)]


def _offsets(found: Binary, point: attach_pb2.UprobeMulti) -> list[int]:
    ways = [each for each in (point.functions, point.pattern, point.file_offsets) if each]
    if len(ways) != 1:
        raise errors.InvalidArgument(
            "uprobe_multi", "give one of functions, pattern and file_offsets"
        )
    if point.pattern:
        matching = found.file.matching(point.pattern)
        if not matching:
            raise _nothing_matches(found, point.pattern)
        return [each.file_offset for each in matching]
    for offset in point.file_offsets:
        if not found.file.is_code(offset):
            raise errors.InvalidArgument(
                "uprobe_multi.file_offsets", f"{found.path} has no code at {offset:#x}"
            )
    field = "uprobe_multi.functions"
    return list(point.file_offsets) or [
        resolve(found.file, found.path, each, 0, point.ret, field) for each in point.functions
    ]


def _nothing_matches(found: Binary, pattern: str) -> errors.NotFound:
    names = list(found.file.function_names())
    plain = pattern.replace("*", "").replace("?", "")
    hint = f"none of the {len(names)} named functions of {found.path} matches"
    return errors.NotFound("function", pattern, near(plain, names), hint)
