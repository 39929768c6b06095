# SPDX-License-Identifier: Apache-2.0
"""BTF that goes with an object to a target whose kernel has none."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from bpfctl.errors import NotSupported

from .identity import KernelBuild
from .store import Entry, Store

if TYPE_CHECKING:
    from bpfd.v1 import target_pb2


def known(info: target_pb2.TargetInfo) -> Entry | None:
    """What the store has for a target's kernel."""
    return Store().find(KernelBuild.of(info))


def how_to_get(target: str) -> str:
    """What to type where a target's kernel has no BTF and the store does not know it."""
    where = f" -t {target}" if target != "local" else ""
    return (
        f"`bpfctl btf fetch{where}` gets it for kernels of Debian, `bpfctl btf add FILE --for"
        f" {target}` takes it from a kernel image, a vmlinux with debug information or BTFHub"
    )


def for_object(
    elf: bytes,
    target: str,
    info: target_pb2.TargetInfo,
    skip: Collection[str] = (),
    also: Collection[str] = (),
) -> bytes:
    """What to send with an object; empty: the kernel has BTF, or the object needs none.

    `target` is the name that -t takes. Raises NotSupported where the object cannot run
    there, or cannot until BTF of the kernel is known.
    """
    if info.btf_sha256 or not any(name in elf for name in (b".BTF.ext", b".struct_ops")):
        return b""
    from bpfctl.elf import InvalidObject, ObjectFile

    from . import reduce

    try:
        parsed = ObjectFile.parse(elf)
        by_kernel = reduce.attached_by_kernel_btf(parsed, skip, also)
        needed = reduce.needs_btf(parsed, skip, also)
    except InvalidObject:
        # The daemon says what is wrong with it.
        return b""
    if by_kernel is not None:
        raise _refused(*by_kernel, info.kernel_release)
    if not needed:
        return b""
    entry = known(info)
    if entry is None:
        raise NotSupported(
            "CO-RE relocations without BTF of its kernel",
            needs=f"{info.kernel_release} was built without (CONFIG_DEBUG_INFO_BTF):"
            f" {how_to_get(target)}",
        )
    entry.read()
    return reduce.reduced(elf, entry.path, entry.sha256)


def _refused(program: str, section: str, release: str) -> NotSupported:
    kind = section.partition("/")[0]
    return NotSupported(
        f"{kind}, the kind of program {program} ({section})",
        needs=f"the kernel attaches it by its own BTF, and {release} was built without"
        " (CONFIG_DEBUG_INFO_BTF), which BTF kept here cannot replace: hook a kprobe, a"
        " tracepoint or a raw tracepoint instead, or leave it out with --no-program"
        f" {program}",
    )
