# SPDX-License-Identifier: Apache-2.0
"""Names that BTF has for numbers in code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.btf import BtfError, kinds
from bpfctl.btf.kinds import Kind

from .instruction import Call, Instruction

if TYPE_CHECKING:
    from bpfctl.btf import Btf


def called_by_number(kernel: Btf, instruction: Instruction) -> str:
    """The kfunc of a BTF id, or the helper of a number in enum bpf_func_id; else empty.

    A kfunc with an offset is one of a module, whose BTF the offset only counts.
    """
    number = instruction.immediate
    if instruction.source == Call.KFUNC:
        if instruction.offset or not 0 < number < len(kernel):
            return ""
        found = kernel.type(number)
        return found.name if isinstance(found, kinds.Function) else ""
    helpers = kernel.find("bpf_func_id", Kind.ENUM)
    if not isinstance(helpers, kinds.Enum):
        return ""
    names = (name for name, value in helpers.values if value == number)
    return next(names, "").replace("BPF_FUNC_", "bpf_")


def variable_at(btf: Btf, section_type: int, offset: int) -> str:
    """The global variable at an offset of a data section, "name+4" inside of it; else empty."""
    try:
        section = btf.type(section_type)
        if not isinstance(section, kinds.DataSection):
            return ""
        for entry in section.variables:
            into = offset - entry.offset
            if 0 <= into < entry.size:
                return btf.type(entry.variable).name + (f"+{into}" if into else "")
    except BtfError:
        pass
    return ""
