# SPDX-License-Identifier: Apache-2.0
"""What a loaded program is for, where the kernel fixes that at load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl import attachpoint
from bpfctl.attachpoint.functions import Aimed, aimed
from bpfctl.errors import BpfctlError, InvalidArgument

if TYPE_CHECKING:
    from bpfctl.target import Target
    from bpfd.v1 import attach_pb2, common_pb2


def checked(
    target: Target, program: int | str | common_pb2.ProgramRef, text: str
) -> attach_pb2.AttachPoint:
    """The attach point of a text that is for this program.

    Raises InvalidAttachPoint, and InvalidArgument where the text names a function other than
    the one that the program was loaded for.
    """
    aim = aimed(text)
    if aim is None:
        return attachpoint.parse(text)
    point = attachpoint.parse(aim.point)
    if aim.function and aim.kind != "freplace":
        _check(target, program, aim, text)
    return point


def _check(
    target: Target, program: int | str | common_pb2.ProgramRef, aim: Aimed, text: str
) -> None:
    loaded = target.program(program, owners=False)
    function = function_of(target, loaded)
    if function and not aim.same(function):
        raise InvalidArgument(
            f"attach point {text}",
            f"program {loaded.name} was loaded for {function}, and the kernel aims no loaded "
            f"program at something else: load it with --function {loaded.name}={aim.function}",
        )


def function_of(target: Target, program: common_pb2.KernelProgram) -> str:
    """The function, hook (bpf_lsm_...), tracepoint (btf_trace_...) or iterator (bpf_iter_...)
    that a program was loaded for, as BTF calls it; empty: none, or it cannot be told."""
    from bpfctl.btf.errors import BtfError

    owner = program.attach_btf_obj_id
    if not program.attach_btf_id or not owner:  # a program's, which the link took over
        return ""
    try:
        if any(each.btf_id == owner for each in target.programs()):
            return target.btf.of_id(owner).type(program.attach_btf_id).name
        try:
            return target.btf.kernel().type(program.attach_btf_id).name
        except BtfError:  # of a module, whose types come behind the kernel's
            return target.btf.of_id(owner).type(program.attach_btf_id).name
    except (BtfError, BpfctlError):
        return ""
