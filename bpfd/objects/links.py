# SPDX-License-Identifier: Apache-2.0
"""Attaching, exchanging and detaching: links with their owners."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bpfd import attach
from bpfd.attach.attachment import Attachment, Named, Program
from bpfd.attach.attachment import Journal as JournalEntry
from bpfd.attach.perf_link import PERF_IOCTL
from bpfd.errors import (
    BpfdError,
    InvalidArgument,
    KernelError,
    LeaseExpired,
    NotFound,
    NotSupported,
)
from bpfd.kernel.info import link_info
from bpfd.kernel.load_options import Cancel, Cancelled
from bpfd.objects.registry import HeldLink, Registry
from bpfd.objects.resolving import resolved
from bpfd.objects.store import Journal, Store
from bpfd.sessions import Sessions
from bpfd.v1 import attach_pb2, common_pb2, links_pb2, objects_pb2

_log = logging.getLogger("bpfd.objects.links")

InspectLink = Callable[[Program, attach_pb2.AttachPoint], None]
"""Looks at a program and where it is attached; raises to refuse."""


def session_of(lifetime: common_pb2.Lifetime, sessions: Sessions) -> str | None:
    """The session that a lifetime names; None: pinned. Raises InvalidArgument, LeaseExpired."""
    match lifetime.WhichOneof("kind"):
        case "session":
            sessions.require(lifetime.session)
            return lifetime.session
        case "pinned":
            return None
        case _:
            raise InvalidArgument("lifetime", "say who owns it: a session, or pinned")


def kernel_ids(attachment: Attachment) -> list[int]:
    """Kernel link ids behind an attachment; none where the hook has no links."""
    found = []
    for fd in attachment.fds if attachment.pinnable else ():
        try:
            found.append(link_info(fd).id)
        except OSError:
            continue
    return found


class Links:
    """All links of a daemon. Every method may be called from any thread."""

    def __init__(
        self, registry: Registry, store: Store, journal: Journal, sessions: Sessions
    ) -> None:
        self._registry = registry
        self._store = store
        self._journal = journal
        self._sessions = sessions

    def attach(
        self,
        request: links_pb2.AttachRequest,
        cancelled: Cancel,
        inspect: InspectLink,
    ) -> objects_pb2.Link:
        """Attaches a program; `inspect` may refuse it before anything is touched."""
        with self._staying(request.program) as (program, owner):
            inspect(program, request.point)
            session = self._lifetime(request, owner)
            with self._registry.reserve_link(request.name, owner, program.name) as name:
                where = resolved(request.point, self._registry)
                attachment = self._attach(name, session, program, where)
                try:
                    if cancelled():
                        raise Cancelled
                    return self._keep(name, owner, program, request.point, session, attachment)
                except BaseException:
                    self._close(name, attachment)
                    raise

    @contextmanager
    def _staying(
        self, ref: common_pb2.ProgramRef, *others: str
    ) -> Iterator[tuple[Program, str]]:
        """A program and its object, which is neither replaced nor dropped meanwhile."""
        with self._registry.program(ref) as (_, owner):
            pass  # who is to stay; by the time it does, a reference may mean a newer program
        with (
            self._registry.staying(owner, *others),
            self._registry.program(ref) as (program, now),
        ):
            if now != owner:
                hint = "its object was replaced just now"
                raise NotFound("program", program.name, hint=hint)
            yield program, owner

    def _attach(
        self,
        name: str,
        session: str | None,
        program: Program,
        point: attach_pb2.AttachPoint,
    ) -> Attachment:
        named = Named(name, pinned=session is None)
        plan = attach.plan(program, point)
        if plan is None:
            return attach.attach(program, point, named=named)
        self._write(name, session, plan)
        try:
            return attach.attach(program, point, plan, named)
        except BaseException:
            self._journal.remove(name)
            raise

    def _write(self, name: str, session: str | None, entry: JournalEntry) -> None:
        note = {"session": session is not None, "undo": entry.to_json()}
        try:
            self._journal.write(name, json.dumps(note).encode())
        except OSError as error:
            raise KernelError(f"writing the journal of {name}", error.errno or 0) from None

    def _lifetime(self, request: links_pb2.AttachRequest, owner: str) -> str | None:
        owner_session = self._registry.object(owner).session if owner else None
        if request.HasField("lifetime"):
            session = session_of(request.lifetime, self._sessions)
        elif owner:
            session = owner_session
        else:
            raise InvalidArgument("lifetime", "say who owns the link of a foreign program")
        if session is None and not owner:
            raise InvalidArgument(
                "lifetime",
                "only links of this daemon's objects outlive their session; the program "
                "belongs to none",
            )
        if session is None and owner_session is not None:
            raise InvalidArgument("lifetime", f"object {owner} ends with its session")
        return session

    def _keep(
        self,
        name: str,
        owner: str,
        program: Program,
        point: attach_pb2.AttachPoint,
        session: str | None,
        attachment: Attachment,
    ) -> objects_pb2.Link:
        held = HeldLink(
            name,
            owner,
            program.name,
            program.id,
            point,
            session,
            attachment,
            kernel_ids(attachment),
        )
        if session is None and attachment.fds:
            self._pin(held)
        with self._registry.lock:
            gone = session is not None and not self._sessions.alive(session)
            if gone or (owner and owner not in self._registry.objects):
                if session is None:
                    self._store.remove_link(owner, name)
                raise LeaseExpired(session or "") if gone else NotFound("object", owner)
            self._registry.links[name] = held
        self._note(owner)
        return held.message()

    def _pin(self, held: HeldLink) -> None:
        if not held.attachment.pinnable:
            raise NotSupported(
                f"{held.attachment.hook.name} links that outlive the daemon",
                since="5.15" if held.attachment.method == PERF_IOCTL else "",
                needs="a session as owner, as of `bpfctl run`; the kernel has no link for it",
            )
        try:
            self._store.add_link(held.owner, held.name, held.attachment.fds)
        except OSError as error:
            raise KernelError(f"pinning link {held.name}", error.errno or 0) from None

    def _note(self, owner: str) -> None:
        """Brings the note of a pinned object up to date."""
        with self._registry.lock:
            held = self._registry.objects.get(owner)
            if held is not None and held.session is None:
                self._store.note(self._registry.message(held))

    def update(
        self, request: links_pb2.UpdateLinkRequest, inspect: InspectLink
    ) -> links_pb2.UpdateLinkResponse:
        """Exchanges the program of a link; the link then belongs to that program's object."""
        link = self._registry.link(request.name)
        with self._staying(request.program, link.owner) as (program, owner), link.lock:
            inspect(program, link.point)
            if not self._registry.holds(link):
                raise NotFound("link", link.name, hint="it was detached just now")
            if request.expected_program_id not in (0, link.program_id):
                raise InvalidArgument(
                    "expected_program_id",
                    f"link {link.name} runs program {link.program_id}",
                )
            new_session = self._registry.object(owner).session if owner else None
            if link.session is None and (not owner or new_session is not None):
                raise InvalidArgument(
                    "program", f"link {link.name} is pinned, and the program's object is not"
                )
            old_program = link.program_id
            method = self.exchange(link, program)
            if owner and owner != link.owner:
                self._move(link, owner)
            self._note(link.owner)
            return links_pb2.UpdateLinkResponse(
                link=link.message(), method=method, old_program_id=old_program
            )

    def exchange(self, link: HeldLink, program: Program) -> links_pb2.UpdateMethod.ValueType:
        """Another program into a held link, pins included; the link's lock is held."""
        attachment = link.attachment
        if (journal := attachment.journal_for(program)) is not None:
            self._write(link.name, link.session, journal)
        method = attachment.update(program)
        if attachment.journal is not None:
            self._write(link.name, link.session, attachment.journal)
        link.program, link.program_id = program.name, program.id
        if method == links_pb2.UPDATE_METHOD_OVERLAP and link.attachment.fds:
            link.link_ids = kernel_ids(link.attachment)
            if link.session is None:
                try:
                    self._store.replace_link(link.owner, link.name, link.attachment.fds)
                except OSError as error:
                    raise KernelError(f"pinning link {link.name}", error.errno or 0) from None
        return method

    def _move(self, link: HeldLink, owner: str) -> None:
        old, link.owner = link.owner, owner
        if link.session is None and link.attachment.fds:
            try:
                self._store.move_link(old, owner, link.name)
            except OSError as error:
                raise KernelError(f"moving the pin of {link.name}", error.errno or 0) from None
        self._note(old)

    def undo_attach(self, link: objects_pb2.Link) -> None:
        """Takes back an attach whose caller has gone."""
        held = self._registry.links.get(link.name)
        if held is not None and held.message().attached_at == link.attached_at:
            self.remove(held)
            self._note(held.owner)

    def detach(
        self, request: links_pb2.DetachRequest, inspect: InspectLink
    ) -> objects_pb2.Link:
        """Detaches a link by name or kernel id; `inspect` may refuse its program."""
        if request.WhichOneof("link") == "link_id":
            with self._registry.lock:
                held = [
                    each
                    for each in self._registry.links.values()
                    if request.link_id in each.link_ids
                ]
            if not held:
                raise NotFound(
                    "link of this daemon",
                    f"id {request.link_id}",
                    hint="links of others are theirs to detach",
                )
            if len(held) > 1:
                names = ", ".join(each.name for each in held)
                raise InvalidArgument(
                    "link_id",
                    f"link {request.link_id} is a chain of several; say which: {names}",
                )
            link = held[0]
        else:
            link = self._registry.link(request.name)
        inspect(self._program_of(link), link.point)
        with self._registry.staying(link.owner):
            self.remove(link)
        self._note(link.owner)
        return link.message()

    def _program_of(self, link: HeldLink) -> Program:
        """What is known of a link's program, without its fd."""
        kind, attach_type = min(link.attachment.hook.types), 0
        if link.owner:
            types = self._registry.types_of(link.owner)
            kind, attach_type = types.get(link.program, (kind, attach_type))
        return Program(-1, link.program_id, link.program, kind, attach_type)

    def remove(self, link: HeldLink) -> None:
        """Unpins and detaches; a second call does nothing."""
        with link.lock, self._registry.leaving(link) as there:
            if there and link.session is None:
                self._store.remove_link(link.owner, link.name)
            if there:
                self._close(link.name, link.attachment)

    def _close(self, name: str, attachment: Attachment) -> None:
        try:
            attachment.close()
        except BpfdError:
            # The journal stays, so that the next daemon tries again.
            _log.exception("detaching %s", name)
            return
        if attachment.journal is not None:
            self._journal.remove(name)

    def read(self, request: links_pb2.ReadLinkRequest) -> Iterator[bytes]:
        """What an iterator writes, in pieces; opened with the first one, which may raise."""
        from bpfd.attach import iterator

        yield from iterator.pieces(self._opened_iterator(request), request.max_bytes)

    def _opened_iterator(self, request: links_pb2.ReadLinkRequest) -> int:
        from bpfd.attach import iterator

        match request.WhichOneof("link"):
            case "name":
                link = self._registry.link(request.name)
                with link.lock:
                    return iterator.opened(link.attachment.fds, link.name)
            case "link_id":
                return iterator.opened_by_id(request.link_id)
            case _:
                raise InvalidArgument("link", "say which: a name or a kernel id")

    def list(self) -> list[objects_pb2.Link]:
        """Every link of this daemon, in the order of attaching."""
        with self._registry.lock:
            return [link.message() for link in self._registry.links.values()]

    def adopt(self, owner: str, note: objects_pb2.Link, attachment: Attachment) -> HeldLink:
        """Takes over a pinned link of an earlier daemon."""
        held = HeldLink(
            note.name,
            owner,
            note.program,
            note.program_id,
            note.point,
            None,
            attachment,
            kernel_ids(attachment),
        )
        if note.HasField("attached_at"):
            held.attached_at = note.attached_at.ToNanoseconds() / 1e9
        with self._registry.lock:
            self._registry.links[held.name] = held
        return held

    def settle_journal(self, notes: dict[str, tuple[str, objects_pb2.Link]]) -> None:
        """After a daemon was killed: takes over what is of pinned objects, undoes the rest.

        `notes` are the (object, link) that pinned objects had, by the link's name.
        """
        for name, data in self._journal.entries().items():
            try:
                entry = json.loads(data)
                journal = attach.journal_from_json(entry["undo"])
            except (ValueError, KeyError, TypeError) as error:
                _log.warning("nothing can be read of what link %s was to undo: %s", name, error)
                self._journal.remove(name)
                continue
            try:
                owner = notes.get(name) or self._owner_of(name, journal)
                keep = None
                if not entry["session"] and owner is not None:
                    keep = attach.adopt_journal(journal)
                if keep is not None and owner is not None:
                    self.adopt(*owner, keep)
                else:
                    journal.undo()
                    self._journal.remove(name)
            except (KeyError, OSError, BpfdError):
                _log.exception("settling what was left of link %s", name)

    def _owner_of(
        self, name: str, journal: JournalEntry
    ) -> tuple[str, objects_pb2.Link] | None:
        """(object, link) of a journal that nothing is noted of, by the program it runs."""
        members = self._registry.program_members()
        for number in journal.program_ids:
            if number in members:
                owner, program = members[number]
                return owner, objects_pb2.Link(
                    name=name, program=program, program_id=number, point=journal.point()
                )
        return None
