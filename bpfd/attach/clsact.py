# SPDX-License-Identifier: Apache-2.0
"""tc by a filter of the clsact qdisc (kernel 4.5), for kernels without tcx.

The kernel keeps a filter whoever made it dies, and there is nothing to pin. So what is
going to be done is written down first (`plan`), as a journal that a later daemon can undo
or take over. The handle is chosen at random, so that a journal never means a filter of
someone else who took the same numbers.
"""

from __future__ import annotations

import dataclasses
import errno
import secrets
import threading
from dataclasses import dataclass
from typing import Any

from bpfd import errors
from bpfd.attach.attachment import Hook, Program
from bpfd.attach.failure import refused
from bpfd.attach.journaled import JournaledAttachment
from bpfd.attach.owner import describe
from bpfd.attach.place import Place, entered
from bpfd.kernel import netns, tc
from bpfd.v1 import attach_pb2, common_pb2

FIRST_PRIORITY = 0xC000
"""What the kernel gives the first filter that names none (net/sched/cls_api.c)."""

_GONE = (errno.ENOENT, errno.ENODEV, errno.EINVAL)

_NUMBERS = ("netns_inode", "ifindex", "direction", "handle", "priority")

_lock = threading.Lock()
"""Nobody puts a filter on a qdisc while another thread finds it empty and removes it."""

_made: set[tuple[int, int]] = set()
"""(namespace inode, ifindex) of the qdiscs that this daemon made and will remove."""


@dataclass(frozen=True)
class ClsactJournal:
    """One filter, enough to find it again. `undo` removes it if it still is ours."""

    netns_path: str
    netns_inode: int
    ifindex: int
    interface: str
    direction: int
    """1 ingress, 2 egress (enum bpf_tc_attach_point)."""
    handle: int
    priority: int
    program_ids: tuple[int, ...]
    """The filter is ours when it runs one of these: two while they are exchanged."""
    made_qdisc: bool
    """The qdisc goes with its last filter: it was missing before."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the way back."""
        return {
            "kind": "clsact",
            **dataclasses.asdict(self),
            "program_ids": list(self.program_ids),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ClsactJournal:
        """Raises ValueError for what `to_json` did not write."""
        names = {each.name for each in dataclasses.fields(cls)}
        if (
            not isinstance(data, dict)
            or data.get("kind") != "clsact"
            or set(data) - {"kind"} != names
        ):
            raise ValueError("not the journal of a clsact filter")
        fields = {name: data[name] for name in names}
        fields["program_ids"] = tuple(fields["program_ids"])
        numbers = (*(fields[name] for name in _NUMBERS), *fields["program_ids"])
        if not all(isinstance(each, int) and 0 <= each < 1 << 64 for each in numbers):
            raise ValueError("its numbers are none")
        if not all(isinstance(fields[name], str) for name in ("netns_path", "interface")):
            raise ValueError("its names are none")
        return cls(**fields)

    def point(self) -> attach_pb2.AttachPoint:
        """Where the filter is."""
        interface = common_pb2.Interface(ifindex=self.ifindex)
        if self.netns_path:
            interface.netns.path = self.netns_path
        way = "TC_DIRECTION_INGRESS" if self.direction == tc.INGRESS else "TC_DIRECTION_EGRESS"
        found = attach_pb2.Tc(
            interface=interface,
            direction=attach_pb2.TcDirection.Value(way),
            method=attach_pb2.TC_METHOD_CLSACT,
            handle=self.handle,
            priority=self.priority,
        )
        return attach_pb2.AttachPoint(tc=found)

    def undo(self) -> None:
        """Removes the filter, and the qdisc when we made it and it is empty.

        A namespace, interface or filter that is gone is no error. Raises KernelError or
        PermissionMissing.
        """
        place = netns.find(self.netns_inode, self.netns_path)
        if place is None:
            return
        with _lock, entered(place.path):
            try:
                if self.is_there():
                    tc.detach(self.ifindex, self.direction, self.handle, self.priority)
                if self.made_qdisc and tc.remove_qdisc_if_empty(self.ifindex):
                    _made.discard((self.netns_inode, self.ifindex))
            except OSError as error:
                if error.errno not in _GONE:
                    raise refused(error, f"removing {self}", "CAP_NET_ADMIN") from None

    def adopt(self, hook: Hook) -> ClsactAttachment | None:
        """The attachment of an earlier daemon; None when the filter is not there any more."""
        place = netns.find(self.netns_inode, self.netns_path)
        if place is None:
            return None
        with entered(place.path):
            if not self.is_there():
                return None
        if self.made_qdisc:
            _made.add((self.netns_inode, self.ifindex))
        return ClsactAttachment(hook, dataclasses.replace(self, netns_path=place.path))

    def __str__(self) -> str:
        way = "ingress" if self.direction == tc.INGRESS else "egress"
        where = f" in {self.netns_path}" if self.netns_path else ""
        return (
            f"the {way} filter of {self.interface}{where}, priority {self.priority}, "
            f"handle {self.handle:#x}"
        )

    def is_there(self) -> bool:
        """Whether the filter runs one of the programs. Run inside its namespace."""
        found = tc.program_at(self.ifindex, self.direction, self.handle, self.priority)
        return found in self.program_ids


class ClsactAttachment(JournaledAttachment[ClsactJournal]):
    """A filter."""

    def __init__(self, hook: Hook, journal: ClsactJournal) -> None:
        super().__init__(hook, "clsact", journal)

    def replace(self, program: Program) -> None:
        """The kernel switches from one packet to the next."""
        journal = self.entry
        place = netns.find(journal.netns_inode, journal.netns_path)
        if place is None:
            raise errors.NotFound("network namespace", journal.netns_path)
        with entered(place.path):
            if not journal.is_there():
                raise errors.NotFound("filter", str(journal), hint="someone removed it")
            try:
                tc.attach(
                    journal.ifindex,
                    journal.direction,
                    program.fd,
                    journal.handle,
                    journal.priority,
                    replace=True,
                )
            except OSError as error:
                operation = f"replacing the program of {journal}"
                raise refused(error, operation, self.hook.capability) from None


def plan(
    hook: Hook, program: Program, place: Place, direction: int, handle: int, priority: int
) -> ClsactJournal:
    """Chooses handle and priority where they are 0. Run inside `located`; touches nothing."""
    key = (place.netns_inode, place.ifindex)
    with _lock:
        try:
            present = tc.has_qdisc(place.ifindex)
            others = tc.filters(place.ifindex, direction) if present else []
        except OSError as error:
            raise refused(error, f"reading the filters of {place}", hook.capability) from None
        if not present:
            _made.discard(key)
        ours = not present or key in _made
    if not priority:
        taken = [each.priority for each in others]
        priority = min(taken) - 1 if taken else FIRST_PRIORITY
        if not priority:
            priority = max(taken) + 1
    handle = handle or secrets.randbelow(0x7FFFFFFE) + 1
    for each in others:
        if (each.handle, each.priority) == (handle, priority):
            point = f"filter {handle:#x} of priority {priority} on {place}"
            raise errors.AttachBusy(point, describe(each.program_id), each.program_id)
    return ClsactJournal(
        netns_path=place.netns_path,
        netns_inode=place.netns_inode,
        ifindex=place.ifindex,
        interface=place.name,
        direction=direction,
        handle=handle,
        priority=priority,
        program_ids=(program.id,),
        made_qdisc=ours,
    )


def attach(
    hook: Hook, program: Program, place: Place, journal: ClsactJournal
) -> ClsactAttachment:
    """Does what the journal says. Run inside `located`; leaves nothing when it raises."""
    if (journal.netns_inode, journal.ifindex) != (place.netns_inode, place.ifindex):
        raise errors.NotFound("interface", place.name, hint="it was replaced meanwhile")
    with _lock:
        if _make(hook, program, place, journal):
            _made.add((place.netns_inode, place.ifindex))
    return ClsactAttachment(hook, journal)


def _make(hook: Hook, program: Program, place: Place, journal: ClsactJournal) -> bool:
    """Qdisc and filter. Returns whether the qdisc was missing."""
    made = False
    try:
        made = tc.create_qdisc(place.ifindex)
        tc.attach(
            place.ifindex,
            journal.direction,
            program.fd,
            journal.handle,
            journal.priority,
            replace=False,
        )
    except OSError as error:
        if made:
            tc.remove_qdisc_if_empty(place.ifindex)
        if error.errno == errno.EEXIST:
            raise errors.AttachBusy(str(journal), "someone who was faster") from None
        hints = {"EINVAL": "another kind of filter or qdisc has that place"}
        raise refused(error, f"making {journal}", hook.capability, hints) from None
    return made
