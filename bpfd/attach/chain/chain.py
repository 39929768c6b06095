# SPDX-License-Identifier: Apache-2.0
"""Several XDP programs on one interface, in the order of their priorities.

The interface runs one program, which the daemon composes of the members' instructions
(`compose`) and exchanges inside one kernel link (BPF_LINK_UPDATE): every packet meets
the chain as it was or as it is to be. So it needs neither freplace nor a place that was kept
free beforehand, and has no number of members of its own.

What runs is written in the program's BTF (`member`). Every pinned member has a pin of
the chain's link under its own name: the link is there while one of them is, and a later daemon
finds who belongs to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import os
import threading
from collections.abc import Iterable, Iterator

from bpfd import errors
from bpfd.attach.attachment import ATOMIC, Attachment, Hook, Program
from bpfd.attach.chain import load as chain_load
from bpfd.attach.chain import pins as chain_pins
from bpfd.attach.chain.member import Member
from bpfd.attach.failure import refused
from bpfd.attach.found import xdp_place
from bpfd.kernel import barrier, syscall
from bpfd.kernel.info import link_info
from bpfd.v1 import attach_pb2, links_pb2

_log = logging.getLogger("bpfd.attach.chain")
_lock = threading.RLock()
"""Of all chains: changing one takes some milliseconds, and two changes must not overlap."""

_chains: list[Chain] = []
_GONE = (errno.ENOLINK, errno.ENODEV)


class Chain:
    """A kernel link that runs a composed program. Use it with `_lock` held."""

    def __init__(self, link_fd: int, mode: str, members: tuple[Member, ...]) -> None:
        self.fd = os.dup(link_fd)
        self.link_id = link_info(link_fd).id
        self.mode = mode
        self.members = members
        """In the order of their running."""
        self.attached: list[ChainMember] = []
        self.arrays = chain_pins.opened(self.link_id)
        """What leads from one piece to the next; nobody else holds it while we live."""
        _chains.append(self)

    @property
    def program_id(self) -> int:
        """The composed program that is there now."""
        return link_info(self.fd).prog_id

    @property
    def interface_is_gone(self) -> bool:
        """Whether there is nothing left to change."""
        return not link_info(self.fd).ifindex

    def change(self, members: Iterable[Member], what: str, hook: Hook) -> None:
        """Other members; when it raises, the old ones stay. They may not be empty."""
        wanted = ordered(members)
        loaded = chain_load.load([chain_load.part(each) for each in wanted])
        try:
            if any(each.pinned for each in wanted):
                chain_pins.keep(self.link_id, loaded.arrays)
            syscall.link_update(self.fd, loaded.fd)
        except OSError as error:
            chain_pins.drop(self.link_id, loaded.arrays)
            loaded.arrays = []
            hints = {"ENOLINK": "what it was attached to is gone; detach it"}
            raise refused(error, what, hook.capability, hints) from None
        finally:
            os.close(loaded.fd)
        old, self.arrays = self.arrays, loaded.arrays
        if old:
            barrier.wait_for_packets()  # that are in the old pieces still
            chain_pins.drop(self.link_id, old)
        self.members = wanted
        self.tell()

    def tell(self) -> None:
        """Says to every member where it stands now."""
        order = {each.priority: index for index, each in enumerate(self.members, 1)}
        for each in self.attached:
            place = order.get(each.member.priority, 0)
            each.method = f"{self.mode}, {place} of {len(order)} in a chain"

    def let_go(self) -> None:
        """Forgets the chain; pins of its link, if there are, keep it running."""
        if self in _chains:
            _chains.remove(self)
            for fd in (self.fd, *self.arrays):
                os.close(fd)

    def end(self) -> None:
        """Detaches the last member."""
        with contextlib.suppress(OSError):
            syscall.link_detach(self.fd)
        chain_pins.drop(self.link_id, self.arrays)
        self.arrays = []


class ChainMember(Attachment):
    """A program's place in a chain."""

    def __init__(self, hook: Hook, fd: int, chain: Chain, member: Member) -> None:
        super().__init__(hook, [fd], chain.mode)
        self.chain = chain
        self.member = member
        chain.attached.append(self)
        chain.tell()

    def running(self) -> list[int]:
        """The member's own program; the link runs the composed one."""
        return [self.member.program_id]

    def complete(self, point: attach_pb2.AttachPoint) -> None:
        """Priority and what it goes on after, which the link itself does not tell."""
        point.xdp.priority = self.member.priority
        point.xdp.proceed_on[:] = self.member.proceed_on

    def close(self) -> None:
        """Leaves the chain; the last one detaches it.

        Raises what recomposing the others raises: then it still runs, until they change.
        """
        with _lock:
            if not self.fds:
                return
            chain = self.chain
            rest = tuple(each for each in chain.members if each is not self.member)
            try:
                if not rest:
                    chain.end()
                elif not chain.interface_is_gone:
                    chain.change(rest, f"taking {self.member.program} out", self.hook)
            finally:
                chain.members = rest
                self.release()

    def release(self) -> None:
        """Lets go of the link and leaves the chain as it is."""
        with _lock:
            super().release()
            if self in self.chain.attached:
                self.chain.attached.remove(self)
                if self.chain.attached:
                    self.chain.tell()
                else:
                    self.chain.let_go()

    def update(self, program: Program) -> links_pb2.UpdateMethod.ValueType:
        """Another program in this place; what else the chain runs stays."""
        self.check(program)
        with _lock:
            if program.id == self.member.program_id:
                return ATOMIC
            new = dataclasses.replace(self.member, program_id=program.id, program=program.name)
            members = (new if each is self.member else each for each in self.chain.members)
            self.chain.change(members, "replacing a program of the chain", self.hook)
            self.member = new
            return ATOMIC


def ordered(members: Iterable[Member]) -> tuple[Member, ...]:
    """By priority. Pure."""
    return tuple(sorted(members, key=lambda each: each.priority))


def find(program_ids: Iterable[int]) -> Chain | None:
    """The chain of this daemon that runs one of these; use it with `locked`."""
    wanted = set(program_ids)
    return next((each for each in _chains if each.program_id in wanted), None)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Nobody else looks at chains and changes them meanwhile."""
    with _lock:
        yield


def start(hook: Hook, link_fd: int, mode: str, member: Member) -> ChainMember:
    """The first member of a link that was made with its program alone."""
    with _lock:
        chain = Chain(link_fd, mode, (member,))
        return ChainMember(hook, link_fd, chain, member)


def join(hook: Hook, chain: Chain, member: Member, where: str) -> ChainMember:
    """One more member. Raises AttachBusy when the priority is taken."""
    with _lock:
        for each in chain.members:
            if each.priority == member.priority:
                raise errors.AttachBusy(
                    f"priority {member.priority} in the chain of {where}",
                    f"program {each.program_id} ({each.program})"
                    + (f" by link {each.link}" if each.link else ""),
                    each.program_id,
                    chain.link_id,
                )
        chain.change((*chain.members, member), f"changing the chain of {where}", hook)
        return ChainMember(hook, os.dup(chain.fd), chain, member)


def adopt(hook: Hook, fds: list[int], name: str) -> ChainMember | None:
    """The member that the pin of an earlier daemon stands for; None: the link is no chain's.

    Takes the fds over unless it raises. Raises NotFound when no member has that link's name.
    """
    with _lock:
        info = link_info(fds[0])
        chain = next((each for each in _chains if each.link_id == info.id), None)
        if chain is None:
            members = chain_load.members_of(info.prog_id)
            if not members:
                return None
            # Sessions of a daemon that is gone have ended.
            pinned = tuple(each for each in members if each.pinned)
            chain = Chain(fds[0], xdp_place(info)[0], pinned)
        member = next((each for each in chain.members if each.link == name), None)
        if member is None:
            if not chain.attached:
                chain.let_go()
            raise errors.NotFound("member of the chain", name)
        return ChainMember(hook, fds[0], chain, member)


def settle(hook: Hook) -> None:
    """After everything was adopted: takes out of chains who belongs to nobody any more."""
    with _lock:
        chain_pins.prune({each.link_id for each in _chains})
        for chain in list(_chains):
            ours = ordered(each.member for each in chain.attached)
            runs = chain_load.members_of(chain.program_id)
            if not ours or chain.interface_is_gone:
                continue
            if ours == runs and not chain.arrays:  # of those some may be left over
                continue
            _log.warning("taking out of the chain of link %d what is left", chain.link_id)
            try:
                chain.change(ours, "settling a chain", hook)
            except errors.BpfdError as error:
                _log.warning("the chain of link %d stays as it is: %s", chain.link_id, error)


def program_of(composed_id: int, link: str) -> int:
    """The program of a link's member in a chain; 0: it is no chain, or has no such member."""
    members = chain_load.members_of(composed_id)
    return next((each.program_id for each in members if each.link == link), 0)
