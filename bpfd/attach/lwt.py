# SPDX-License-Identifier: Apache-2.0
"""lwt: packets of a route, by a program in its light-weight tunnel (kernel 4.10,
3a0af8fd61f9).

There is no kernel link: the route keeps the program whoever made it dies. A journal says how
it was before. The route is known again by a name that is chosen at random.
"""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
import secrets
from dataclasses import dataclass
from typing import Any

from bpfd import errors
from bpfd.attach.attachment import Hook, Program, hook
from bpfd.attach.failure import refused
from bpfd.attach.journaled import JournaledAttachment
from bpfd.attach.place import Place, entered, located
from bpfd.kernel import netns, route
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2, common_pb2

HOOK = hook("lwt", {ProgType.LWT_IN, ProgType.LWT_OUT, ProgType.LWT_XMIT}, "CAP_NET_ADMIN")
METHOD = "route"

MAX_HEADROOM = 256
"""LWT_BPF_MAX_HEADROOM."""

_WAYS: dict[int, int] = {
    ProgType.LWT_IN: route.IN,
    ProgType.LWT_OUT: route.OUT,
    ProgType.LWT_XMIT: route.XMIT,
}
_HINTS = {
    "EEXIST": "there is a route to it through another interface, or by now",
    "ENETDOWN": "the interface is down",
    "EINVAL": "this kernel cannot have such a route",
}
_NUMBERS = ("netns_inode", "ifindex", "way", "headroom")
_TEXTS = ("netns_path", "interface", "prefix", "name", "before")


@dataclass(frozen=True)
class LwtJournal:
    """One route, enough to find it again and to make it what it was."""

    netns_path: str
    netns_inode: int
    ifindex: int
    interface: str
    prefix: str
    way: int
    """1 in, 2 out, 3 xmit (enum lwt_bpf)."""
    headroom: int
    name: str
    """Begins the name of the program in the route: it is ours as long as that is so."""
    before: str
    """The route without the program, in hexadecimal; empty: there was none."""
    program_ids: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the way back."""
        fields = dataclasses.asdict(self)
        return {"kind": "lwt", **fields, "program_ids": list(self.program_ids)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LwtJournal:
        """Raises ValueError for what `to_json` did not write."""
        names = {each.name for each in dataclasses.fields(cls)}
        if set(data) - {"kind"} != names or not isinstance(data["program_ids"], list):
            raise ValueError("not the journal of a route")
        numbers = [*(data[name] for name in _NUMBERS), *data["program_ids"]]
        if not all(isinstance(each, int) and each >= 0 for each in numbers):
            raise ValueError("its numbers are none")
        if not all(isinstance(data[name], str) for name in _TEXTS):
            raise ValueError("its texts are none")
        bytes.fromhex(data["before"])
        ipaddress.ip_network(data["prefix"])
        return cls(
            **{**{name: data[name] for name in names}, "program_ids": tuple(numbers[4:])}
        )

    def point(self) -> attach_pb2.AttachPoint:
        """Where the route is."""
        interface = common_pb2.Interface(ifindex=self.ifindex)
        if self.netns_path:
            interface.netns.path = self.netns_path
        found = attach_pb2.Lwt(interface=interface, prefix=self.prefix, headroom=self.headroom)
        return attach_pb2.AttachPoint(lwt=found)

    def __str__(self) -> str:
        where = f" in {self.netns_path}" if self.netns_path else ""
        return f"the route to {self.prefix} through {self.interface}{where}"

    def is_there(self) -> bool:
        """Whether the route has our program. Run inside its namespace."""
        found = route.find(ipaddress.ip_network(self.prefix), self.ifindex)
        return found is not None and any(
            each.startswith(f"{self.name}-") for each in found.programs
        )

    def undo(self) -> None:
        """Makes the route what it was; one that is gone, or not ours, is no error.

        Raises KernelError or PermissionMissing.
        """
        place = netns.find(self.netns_inode, self.netns_path)
        if place is None:
            return
        with entered(place.path):
            try:
                if not self.is_there():
                    return
                if self.before:
                    route.clear(route.Route.unpacked(bytes.fromhex(self.before)))
                else:
                    route.remove(self.made())
            except OSError as error:
                if error.errno not in (errno.ENODEV, errno.ESRCH):
                    operation = f"taking the program out of {self}"
                    raise refused(error, operation, HOOK.capability) from None

    def made(self) -> route.Route:
        """The route without the program."""
        if self.before:
            return route.Route.unpacked(bytes.fromhex(self.before))
        return route.plain(ipaddress.ip_network(self.prefix), self.ifindex)

    def adopt(self, hook: Hook) -> LwtAttachment | None:
        """The attachment of an earlier daemon; None when it is not there any more."""
        place = netns.find(self.netns_inode, self.netns_path)
        if place is None:
            return None
        with entered(place.path):
            if not self.is_there():
                return None
        return LwtAttachment(hook, dataclasses.replace(self, netns_path=place.path))


class LwtAttachment(JournaledAttachment[LwtJournal]):
    """A program in a route."""

    def __init__(self, hook: Hook, journal: LwtJournal) -> None:
        super().__init__(hook, METHOD, journal)

    def replace(self, program: Program) -> None:
        """The route in its own place: a packet meets one of the two programs."""
        journal = self.entry
        if _WAYS[program.type] != journal.way:
            raise errors.InvalidArgument(
                "program", f"{program.name} is for another way of the packets"
            )
        place = netns.find(journal.netns_inode, journal.netns_path)
        if place is None:
            raise errors.NotFound("network namespace", journal.netns_path)
        with entered(place.path):
            if not journal.is_there():
                raise errors.NotFound("route", str(journal), hint="someone changed it")
            _put(journal, program, replace=True)


def plan(program: Program, point: attach_pb2.Lwt) -> LwtJournal:
    """What `attach` is going to do. Touches nothing; raises what `attach` raises."""
    HOOK.check(program)
    prefix = _prefix(point.prefix)
    way = _WAYS[program.type]
    if point.headroom and way != route.XMIT:
        raise errors.InvalidArgument("lwt.headroom", "is for programs of xmit")
    if point.headroom > MAX_HEADROOM:
        raise errors.InvalidArgument("lwt.headroom", f"is at most {MAX_HEADROOM} bytes")
    with located(point.interface) as place:
        before = _before(prefix, place)
        return LwtJournal(
            netns_path=place.netns_path,
            netns_inode=place.netns_inode,
            ifindex=place.ifindex,
            interface=place.name,
            prefix=str(prefix),
            way=way,
            headroom=point.headroom,
            name=f"bpfd-{secrets.token_hex(8)}",
            before=before.packed().hex() if before else "",
            program_ids=(program.id,),
        )


def attach(
    program: Program, point: attach_pb2.Lwt, journal: LwtJournal | None = None
) -> LwtAttachment:
    """Puts the program into the route to the prefix through the interface; makes one, for
    what is directly behind it, where there is none. `journal` is what `plan` gave.

    Raises NotFound, AttachBusy, InvalidArgument, NotSupported, PermissionMissing, KernelError.
    """
    journal = journal or plan(program, point)
    with located(point.interface) as place:
        if (journal.netns_inode, journal.ifindex) != (place.netns_inode, place.ifindex):
            raise errors.NotFound("interface", place.name, hint="it was replaced meanwhile")
        _put(journal, program, replace=bool(journal.before))
    return LwtAttachment(HOOK, journal)


def _prefix(text: str) -> route.Prefix:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise errors.InvalidArgument("lwt.prefix", str(error)) from None


def _before(prefix: route.Prefix, place: Place) -> route.Route | None:
    try:
        found = route.find(prefix, place.ifindex)
    except OSError as error:
        raise refused(error, f"reading the routes of {place}", HOOK.capability) from None
    if found is not None and found.tunnel:
        owner = f"program {found.programs[0]!r}" if found.programs else "another tunnel"
        raise errors.AttachBusy(f"the route to {prefix} through {place}", owner)
    if found is not None and found.spread:
        raise errors.NotSupported(
            f"programs in the route to {prefix}",
            needs="a route with one next hop: this one has several, or a next hop object",
        )
    return found


def _put(journal: LwtJournal, program: Program, *, replace: bool) -> None:
    # Routes are alike to the kernel when names are (bpf_lwt_prog_cmp in net/core/lwt_bpf.c),
    # and one that is alike is not replaced.
    name = f"{journal.name}-{program.id}"
    try:
        route.set_program(
            journal.made(),
            journal.way,
            program.fd,
            name,
            journal.headroom,
            replace=replace,
        )
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise errors.NotSupported(
                "programs in routes", "4.10", "a kernel with CONFIG_LWTUNNEL_BPF"
            ) from None
        operation = f"putting a program into {journal}"
        raise refused(error, operation, HOOK.capability, _HINTS) from None
