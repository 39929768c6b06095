# SPDX-License-Identifier: Apache-2.0
"""What sk_msg and sk_skb share: a program of a sockmap or sockhash.

By a link where the kernel has it (6.10, 699c23f02c65). Else by BPF_PROG_ATTACH (4.14,
174a79ff9515): that program stays with the map whoever attached it dies, and there is nothing
to pin, so it is written down first (`plan`) for a later daemon to undo or take over.

A socket has the programs that the map had when it was put in: attaching, exchanging and
detaching are for sockets that are put in afterwards.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bpfd import errors, features
from bpfd.attach.attachment import Attachment, Hook, Program
from bpfd.attach.failure import refused
from bpfd.attach.journaled import JournaledAttachment
from bpfd.attach.owner import describe, link_of
from bpfd.attach.reference import opened_map
from bpfd.kernel import syscall
from bpfd.kernel.constants import AttachType, Cmd, LinkType, MapType, name_of
from bpfd.kernel.info import map_info
from bpfd.v1 import attach_pb2, common_pb2

LINK, NO_LINK = "sockmap link", "sockmap attach"

HOOKS: dict[int, AttachType] = {
    attach_pb2.SK_SKB_HOOK_STREAM_PARSER: AttachType.SK_SKB_STREAM_PARSER,
    attach_pb2.SK_SKB_HOOK_STREAM_VERDICT: AttachType.SK_SKB_STREAM_VERDICT,
    attach_pb2.SK_SKB_HOOK_VERDICT: AttachType.SK_SKB_VERDICT,
}
"""By enum SkSkbHook."""

_CAPABILITY = "CAP_NET_ADMIN"

_lock = threading.Lock()
"""No other thread attaches between a look at what is there and the attaching: the kernel
replaces without a word."""


@dataclass(frozen=True)
class SockmapJournal:
    """One program of a map. `undo` takes it away if it still is ours."""

    map_id: int
    attach_type: int
    program_ids: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the way back."""
        return {
            "kind": "sockmap",
            "map_id": self.map_id,
            "attach_type": self.attach_type,
            "program_ids": list(self.program_ids),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SockmapJournal:
        """Raises ValueError for what `to_json` did not write."""
        if set(data) != {"kind", "map_id", "attach_type", "program_ids"}:
            raise ValueError("not the journal of a sockmap")
        found = cls(data["map_id"], data["attach_type"], tuple(data["program_ids"]))
        numbers = (found.map_id, found.attach_type, *found.program_ids)
        if not all(isinstance(each, int) and 0 <= each < 1 << 32 for each in numbers):
            raise ValueError("its numbers are none")
        return found

    def point(self) -> attach_pb2.AttachPoint:
        """The map and the hook."""
        return point_of(self.map_id, self.attach_type)

    def adopt(self, hook: Hook) -> SockmapAttachment | None:
        """The attachment of an earlier daemon; None when it is not there any more."""
        try:
            with self.opened() as fd:
                there = _running(fd, self.attach_type) in self.program_ids
        except errors.NotFound:
            return None
        return SockmapAttachment(hook, self) if there else None

    def undo(self) -> None:
        """The kernel looks whether it is ours. Raises KernelError, PermissionMissing."""
        try:
            with self.opened() as fd:
                for program_id in self.program_ids:
                    self._detach(fd, program_id)
        except errors.NotFound:
            return  # the map took the program with it

    def _detach(self, fd: int, program_id: int) -> None:
        try:
            program = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, program_id)
        except FileNotFoundError:
            return
        try:
            syscall.prog_detach(fd, program, self.attach_type)
        except FileNotFoundError:
            return
        except OSError as error:
            raise refused(error, f"detaching from {_words(fd, self)}", _CAPABILITY) from None
        finally:
            os.close(program)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """The map's fd while the block runs. Raises NotFound when the map is gone."""
        with opened_map(common_pb2.MapRef(id=self.map_id), "map") as fd:
            yield fd


class SockmapAttachment(JournaledAttachment[SockmapJournal]):
    """A program without a link. The map is not held."""

    def __init__(self, hook: Hook, journal: SockmapJournal) -> None:
        super().__init__(hook, NO_LINK, journal, attach_type=journal.attach_type)

    def replace(self, program: Program) -> None:
        """For sockets that are put into the map afterwards."""
        entry = self.entry
        with entry.opened() as fd, _lock:
            if _running(fd, entry.attach_type) not in entry.program_ids:
                raise errors.NotFound("program", _words(fd, entry), hint="someone took it away")
            try:
                syscall.prog_attach(fd, program.fd, entry.attach_type)
            except OSError as error:
                operation = f"replacing the program of {_words(fd, entry)}"
                raise refused(error, operation, _CAPABILITY) from None


def has_link() -> bool:
    """Whether the kernel has links for sockmaps."""
    return features.feature("sockmap link").supported


def plan(program: Program, reference: common_pb2.MapRef, attach_type: int) -> SockmapJournal:
    """What `attach` is going to do where the kernel has no link."""
    with _opened(reference) as fd:
        return SockmapJournal(map_info(fd).id, attach_type, (program.id,))


def attach(
    hook: Hook,
    program: Program,
    reference: common_pb2.MapRef,
    attach_type: int,
    journal: SockmapJournal | None,
) -> Attachment:
    """By a link, or as the journal says.

    Raises NotFound, AttachBusy, InvalidArgument, PermissionMissing, KernelError.
    """
    with _opened(reference) as fd, _lock:
        entry = journal or SockmapJournal(map_info(fd).id, attach_type, (program.id,))
        if there := _running(fd, attach_type):
            raise _busy(fd, entry, there)
        try:
            if journal is not None:
                syscall.prog_attach(fd, program.fd, attach_type)
                return SockmapAttachment(hook, journal)
            link = syscall.link_create(program.fd, fd, attach_type)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise _busy(fd, entry, _running(fd, attach_type)) from None
            where = _words(fd, entry)
            raise refused(error, f"attaching to {where}", _CAPABILITY) from None
    return linked(hook, [link], attach_type)


def linked(hook: Hook, fds: list[int], attach_type: int) -> Attachment:
    """What a link to a sockmap is to the daemon; takes the fds over."""
    return Attachment(hook, fds, LINK, attach_type=attach_type)


def point_of(map_id: int, attach_type: int) -> attach_pb2.AttachPoint:
    """Empty for an attach type that is none of sockmaps."""
    point = attach_pb2.AttachPoint()
    if attach_type == AttachType.SK_MSG_VERDICT:
        point.sk_msg.map.id = map_id
    for hook, number in HOOKS.items():
        if number == attach_type:
            point.sk_skb.map.id = map_id
            point.sk_skb.hook = attach_pb2.SkSkbHook.ValueType(hook)
    return point


@contextmanager
def _opened(reference: common_pb2.MapRef) -> Iterator[int]:
    with opened_map(reference, "map") as fd:
        kind = map_info(fd).type
        if kind not in (MapType.SOCKMAP, MapType.SOCKHASH):
            raise errors.InvalidArgument(
                "map",
                f"map {reference.id} is of type {name_of(MapType, kind) or kind}; "
                "a sockmap or sockhash is needed",
            )
        yield fd


def _running(fd: int, attach_type: int) -> int:
    """The id of the map's program; 0: none, or the kernel cannot tell (before 5.19)."""
    try:
        programs, _ = syscall.prog_query(fd, attach_type)
    except OSError:
        return 0
    return programs[0] if programs else 0


def _words(fd: int, entry: SockmapJournal) -> str:
    name = map_info(fd).name.decode(errors="replace")
    hook = (name_of(AttachType, entry.attach_type) or "sockmap").removeprefix("sk_skb_")
    kind = "sk_msg" if entry.attach_type == AttachType.SK_MSG_VERDICT else f"sk_skb {hook}"
    return f"{kind} of map {entry.map_id} ({name})"


def _busy(fd: int, entry: SockmapJournal, program_id: int) -> errors.AttachBusy:
    where = _words(fd, entry)
    if program_id:
        link = link_of(
            program_id,
            lambda info: (
                (info.type, info.map_id, info.attach_type)
                == (LinkType.SOCKMAP, entry.map_id, entry.attach_type)
            ),
        )
        return errors.AttachBusy(where, describe(program_id, link), program_id, link)
    others = (AttachType.SK_SKB_VERDICT, AttachType.SK_SKB_STREAM_VERDICT)
    for other in others:
        if other != entry.attach_type and (found := _running(fd, other)):
            words = f"{describe(found)}: a map has a verdict or a stream verdict"
            return errors.AttachBusy(where, words, found)
    return errors.AttachBusy(where, "a program that the kernel does not name")
