# SPDX-License-Identifier: Apache-2.0
"""struct_ops: programs as a table of functions of the kernel, a TCP congestion control say.

A link registers the map (kernel 6.4, 68b04864ca42) and can exchange it; before that the map
is registered when it is filled, once, and stays so whoever dies: a journal keeps it.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any

from bpfd import errors
from bpfd.attach.attachment import ATOMIC, Attachment, Hook, Program, hook
from bpfd.attach.failure import refused
from bpfd.attach.journaled import JournaledAttachment
from bpfd.attach.reference import opened_map
from bpfd.kernel import struct_ops, syscall
from bpfd.kernel.constants import BPF_F_LINK, ENOTSUPP, AttachType, Cmd, MapType, ProgType
from bpfd.kernel.info import MapInfo, link_info, map_info
from bpfd.v1 import attach_pb2, common_pb2, links_pb2

HOOK = hook("struct_ops", {ProgType.STRUCT_OPS}, "CAP_SYS_ADMIN")
LINK, MAP = "struct_ops link", "struct_ops map"

_HINTS = {
    "EINVAL": "the kernel refuses the struct, or the map was filled by nobody",
    "EBUSY": "the map is registered already",
}
_AGAIN = "a struct_ops map can be registered once on this kernel: load the object again"


def plan(program: Program, point: attach_pb2.StructOps) -> StructOpsJournal | None:
    """What is to be undone where no link keeps it; None: it makes a link. Touches nothing."""
    HOOK.check(program)
    with opened_map(point.map, "struct_ops.map") as fd:
        info = _checked(fd)
        if info.map_flags & BPF_F_LINK:
            return None
        return StructOpsJournal(info.id, _name(info), (program.id,))


def attach(
    program: Program, point: attach_pb2.StructOps, journal: StructOpsJournal | None = None
) -> Attachment:
    """The method is "struct_ops link", or "struct_ops map" before kernel 6.4.

    `program` is any struct_ops program of the map's object. Raises NotFound, AttachBusy,
    InvalidArgument, NotSupported, PermissionMissing, KernelError.
    """
    HOOK.check(program)
    with opened_map(point.map, "struct_ops.map") as fd:
        info = _checked(fd)
        if not info.map_flags & BPF_F_LINK:
            journal = journal or StructOpsJournal(info.id, _name(info), (program.id,))
            return _register(fd, info, journal)
        try:
            link = syscall.link_create(fd, 0, AttachType.STRUCT_OPS)
        except OSError as error:
            raise _refused(error, info) from None
    return StructOpsLink(HOOK, [link], LINK)


class StructOpsLink(Attachment):
    """A link that registers a map."""

    def update(self, program: Program) -> links_pb2.UpdateMethod.ValueType:
        """The map of the same name of the program's object in place of the registered one."""
        self.hook.check(program)
        old = link_info(self.fds[0]).map_id
        with opened_map(common_pb2.MapRef(id=old), "struct_ops.map") as fd:
            name = _name(map_info(fd))
        new = struct_ops.successor(program.id, name)
        if not new:
            raise errors.NotFound(
                "map", name, hint=f"the object of program {program.name} was not loaded with it"
            )
        if new == old:
            return ATOMIC
        with opened_map(common_pb2.MapRef(id=new), "struct_ops.map") as fd:
            try:
                syscall.link_update(self.fds[0], fd)
            except OSError as error:
                hints = {
                    "EINVAL": "the two structs have different names, as congestion controls say"
                    " them",
                    "EOPNOTSUPP": "this struct_ops cannot be exchanged: detach and attach",
                    "ENOTSUPP": "this struct_ops cannot be exchanged: detach and attach",
                }
                operation = f"replacing struct_ops {name}"
                raise refused(error, operation, HOOK.capability, hints) from None
        return ATOMIC


@dataclass(frozen=True)
class StructOpsJournal:
    """A map that is registered without a link."""

    map_id: int
    map_name: str
    program_ids: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the way back."""
        return {
            "kind": "struct_ops",
            "map_id": self.map_id,
            "map_name": self.map_name,
            "program_ids": list(self.program_ids),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StructOpsJournal:
        """Raises ValueError for what `to_json` did not write."""
        numbers = [data.get("map_id"), *(data.get("program_ids") or ())]
        if not all(isinstance(each, int) and each >= 0 for each in numbers):
            raise ValueError("not the journal of a struct_ops map")
        return cls(data["map_id"], str(data.get("map_name")), tuple(data["program_ids"]))

    def point(self) -> attach_pb2.AttachPoint:
        """The map."""
        where = attach_pb2.StructOps(map=common_pb2.MapRef(id=self.map_id))
        return attach_pb2.AttachPoint(struct_ops=where)

    def opened(self) -> int | None:
        """The map; None when it is gone, or another one has its id after a reboot."""
        try:
            fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, self.map_id)
        except OSError:
            return None
        info = map_info(fd)
        if (info.type, _name(info)) == (MapType.STRUCT_OPS, self.map_name):
            return fd
        os.close(fd)
        return None

    def adopt(self, hook: Hook) -> Attachment | None:
        """The registered map of an earlier daemon; None when it is gone."""
        fd = self.opened()
        if fd is None:
            return None
        os.close(fd)
        return RegisteredMap(hook, MAP, self)

    def undo(self) -> None:
        """Takes the map back; nothing there is no error."""
        fd = self.opened()
        if fd is None:
            return
        try:
            _unregister(fd)
        finally:
            os.close(fd)


class RegisteredMap(JournaledAttachment[StructOpsJournal]):
    """A map that registered itself when it was filled."""

    def replace(self, program: Program) -> None:
        """Raises NotSupported: two of one name cannot be registered."""
        raise errors.NotSupported(
            "exchanging a struct_ops", since="6.4", needs="detach it and attach the new one"
        )


def _name(info: MapInfo) -> str:
    return bytes(info.name).decode(errors="replace")


def _checked(fd: int) -> MapInfo:
    info = map_info(fd)
    if info.type != MapType.STRUCT_OPS:
        raise errors.InvalidArgument(
            "struct_ops.map", f"map {info.id} ({_name(info)}) is no struct_ops"
        )
    return info


def _register(fd: int, info: MapInfo, journal: StructOpsJournal) -> Attachment:
    part = struct_ops.part(info.id)
    if part is None or not part.value:
        raise errors.NotSupported(
            "registering a struct_ops map from before the daemon's start", "6.4", _AGAIN
        )
    try:
        syscall.map_update_elem(fd, struct_ops.KEY, part.value)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise errors.NotSupported("registering it again", "6.4", _AGAIN) from None
        raise _refused(error, info) from None
    return RegisteredMap(HOOK, MAP, journal)


def _refused(error: OSError, info: MapInfo) -> errors.BpfdError:
    name = _name(info)
    if error.errno == errno.EEXIST:
        return errors.AttachBusy(
            f"struct_ops {name}", "something of the same name that is registered already"
        )
    if error.errno == ENOTSUPP:
        return struct_ops.refused(error, f"registering {name}")
    return refused(error, f"registering struct_ops {name}", HOOK.capability, _HINTS)


def _unregister(fd: int) -> None:
    try:
        syscall.map_delete_elem(fd, struct_ops.KEY)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINPROGRESS):
            raise refused(error, "taking a struct_ops back", HOOK.capability) from None
