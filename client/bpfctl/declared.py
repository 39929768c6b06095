# SPDX-License-Identifier: Apache-2.0
"""Types of a map's keys and values as the source of its object declares them.

The kernel keeps no types of queues, filters, sockets' hashes and maps of maps (libbpf does not
hand them over); they stand in the BTF of the programs, where `struct {...} NAME SEC(".maps")`
is a variable whose members `key` and `value` are pointers to the types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.btf.kinds import Type
    from bpfd.v1 import common_pb2

_KERNEL_NAME_BYTES = 15
_UNTYPED_KEYS = ("HASH_OF_MAPS", "SOCKHASH", "STACK_TRACE")
_UNTYPED_VALUES = ("QUEUE", "STACK", "BLOOM_FILTER")


def asks(info: common_pb2.KernelMap, member: str) -> bool:
    """Whether it is worth looking for the type of `member`, "key" or "value"."""
    from bpfd.v1 import common_pb2

    types = _UNTYPED_KEYS if member == "key" else _UNTYPED_VALUES
    return info.type in [common_pb2.MapType.Value(f"MAP_TYPE_{name}") for name in types]


def type_id(btf: Btf, info: common_pb2.KernelMap, member: str) -> int:
    """The id of the declared type; 0: the BTF has no such map. Pure."""
    name = info.member or info.name
    for variable in btf.variables(".maps"):
        cut = variable.name[:_KERNEL_NAME_BYTES]
        if variable.name != name and (info.member or cut != name):
            continue
        if found := _pointed(btf, variable.type_id, member):
            return found
    return 0


def of_map(btf: Btf, name: str, member: str) -> int:
    """The same for a map by its full name."""
    for variable in btf.variables(".maps"):
        if variable.name == name:
            return _pointed(btf, variable.type_id, member)
    return 0


def _pointed(btf: Btf, variable: int, member: str) -> int:
    """What the member of a map's declaration points to; 0: it has none."""
    from bpfctl.btf import kinds

    declaration = _behind(btf, variable)
    if isinstance(declaration, kinds.Composite):
        for field in declaration.members:
            pointer = btf.resolve(field.type)
            if field.name == member and isinstance(pointer, kinds.Reference):
                return pointer.target
    return 0


def _behind(btf: Btf, type_id: int) -> Type:
    """The type of a variable."""
    from bpfctl.btf import kinds

    found = btf.resolve(type_id)
    return btf.resolve(found.type) if isinstance(found, kinds.Variable) else found
