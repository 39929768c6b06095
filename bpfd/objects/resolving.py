# SPDX-License-Identifier: Apache-2.0
"""Maps and programs that an attach point names, by their kernel ids."""

from __future__ import annotations

from bpfd.kernel.info import map_info
from bpfd.objects.registry import Registry
from bpfd.v1 import attach_pb2, common_pb2


def resolved(point: attach_pb2.AttachPoint, registry: Registry) -> attach_pb2.AttachPoint:
    """A copy whose references to maps and programs are ids, which hooks can open.

    Raises NotFound and InvalidArgument.
    """
    found = attach_pb2.AttachPoint()
    found.CopyFrom(point)
    kind = found.WhichOneof("point")
    if kind is None:
        return found
    for _, value in getattr(found, kind).ListFields():
        if isinstance(value, common_pb2.MapRef):
            with registry.map_fd(value) as fd:
                value.id = map_info(fd).id
        elif isinstance(value, common_pb2.ProgramRef):
            with registry.program(value) as (program, _):
                value.id = program.id
    return found
