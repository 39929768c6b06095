# SPDX-License-Identifier: Apache-2.0
"""What this daemon holds: objects and links by name, and how a reference becomes an fd."""

from __future__ import annotations

import difflib
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bpfd.attach.attachment import Attachment, Program
from bpfd.errors import InvalidArgument, KernelError, LimitExceeded, NotFound, PermissionMissing
from bpfd.kernel import syscall
from bpfd.kernel.constants import Cmd
from bpfd.kernel.info import fdinfo, prog_info
from bpfd.kernel.load_options import Loaded
from bpfd.v1 import attach_pb2, common_pb2, objects_pb2

MAX_OBJECTS = 1024
MAX_LINKS = 16384
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LINK_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_.-]{1,128})?")


@dataclass
class HeldLink:
    """A link of this daemon."""

    name: str
    owner: str
    program: str
    program_id: int
    point: attach_pb2.AttachPoint
    session: str | None
    attachment: Attachment
    link_ids: list[int]
    attached_at: float = field(default_factory=time.time)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def message(self) -> objects_pb2.Link:
        """As the API shows it."""
        message = objects_pb2.Link(
            name=self.name,
            object=self.owner,
            program=self.program,
            program_id=self.program_id,
            point=self.point,
            lifetime=lifetime_message(self.session),
            link_ids=self.link_ids,
            method=self.attachment.method,
        )
        message.attached_at.FromNanoseconds(int(self.attached_at * 1e9))
        return message


@dataclass
class HeldObject:
    """An object of this daemon."""

    name: str
    session: str | None
    loaded: Loaded
    label: str = ""
    loaded_at: float = field(default_factory=time.time)
    lock: threading.Lock = field(default_factory=threading.Lock)
    metrics: tuple[objects_pb2.Metric, ...] = ()
    """What of its maps is shown as metrics."""
    replaced: bool = False
    """Whether a later version has taken the place of the one that was loaded first."""


def lifetime_message(session: str | None) -> common_pb2.Lifetime:
    """A session's, or pinned."""
    if session is None:
        return common_pb2.Lifetime(pinned=common_pb2.Pinned())
    return common_pb2.Lifetime(session=session)


class Registry:
    """Objects and links by name. Every method may be called from any thread."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.objects: dict[str, HeldObject] = {}
        self.links: dict[str, HeldLink] = {}
        self._reserved: set[str] = set()
        self._reserved_links: set[str] = set()

    @contextmanager
    def reserve(self, name: str, *, replace: bool = False) -> Iterator[None]:
        """Keeps an object's name for the time of a load."""
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                "name", f"{name!r}: 1 to 64 letters, digits, '_' and '-' are a name"
            )
        with self.lock:
            if name in self._reserved:
                raise InvalidArgument("name", f"object {name} is being loaded or unloaded")
            if name in self.objects and not replace:
                raise InvalidArgument(
                    "name", f"there is an object {name}; unload it, or load with replace"
                )
            if len(self.objects) + len(self._reserved) >= MAX_OBJECTS and not replace:
                raise LimitExceeded("number of objects", MAX_OBJECTS, hint="unload some")
            self._reserved.add(name)
        try:
            yield
        finally:
            with self.lock:
                self._reserved.discard(name)

    def object(self, name: str) -> HeldObject:
        """An object by name. Raises NotFound."""
        with self.lock:
            found = self.objects.get(name)
            if found is None:
                near = difflib.get_close_matches(name, self.objects, 3)
                raise NotFound("object", name, near, "`bpfctl object list` shows what there is")
            return found

    @contextmanager
    def staying(self, *names: str) -> Iterator[None]:
        """Objects are neither replaced nor dropped meanwhile; "" is none. Raises NotFound."""
        with ExitStack() as stack:
            for name in sorted(set(names) - {""}):  # in one order, against deadlocks
                held = self.object(name)
                stack.enter_context(held.lock)
                if self.object(name) is not held:
                    raise NotFound("object", name, hint="it was unloaded just now")
            yield

    def link(self, name: str) -> HeldLink:
        """A link by name. Raises NotFound."""
        with self.lock:
            found = self.links.get(name)
            if found is None:
                near = difflib.get_close_matches(name, self.links, 3)
                raise NotFound("link", name, near, "`bpfctl link list` shows what there is")
            return found

    def holds(self, link: HeldLink) -> bool:
        """Whether the link is still one of ours; ask with its lock held."""
        with self.lock:
            return self.links.get(link.name) is link

    def links_of(self, owner: str) -> list[HeldLink]:
        """Links of an object, in the order of their attaching."""
        with self.lock:
            return [link for link in self.links.values() if link.owner == owner]

    @contextmanager
    def reserve_link(self, wanted: str, owner: str, program: str) -> Iterator[str]:
        """A free name for a link, kept for the time of attaching.

        The one asked for, or OBJECT/PROGRAM, with a number behind it where that is taken.
        """
        with self.lock:
            name = self._link_name(wanted, owner, program)
            self._reserved_links.add(name)
        try:
            yield name
        finally:
            with self.lock:
                self._reserved_links.discard(name)

    @contextmanager
    def leaving(self, link: HeldLink) -> Iterator[bool]:
        """Forgets a link; its name is free when the `with` ends. False: it was not there."""
        with self.lock:
            there = self.links.get(link.name) is link
            if there:
                del self.links[link.name]
                self._reserved_links.add(link.name)
        try:
            yield there
        finally:
            with self.lock:
                if there:
                    self._reserved_links.discard(link.name)

    def _link_name(self, wanted: str, owner: str, program: str) -> str:
        taken = self.links.keys() | self._reserved_links
        if len(taken) >= MAX_LINKS:
            raise LimitExceeded("number of links", MAX_LINKS, hint="detach some")
        if wanted:
            if not _LINK_NAME.fullmatch(wanted):
                raise InvalidArgument(
                    "name", f"{wanted!r}: letters, digits, '_', '-' and one '/' are a name"
                )
            if wanted in taken:
                raise InvalidArgument("name", f"there is a link {wanted}; detach it first")
            return wanted
        base = f"{owner}/{program}" if owner else f"program/{program}"
        number = 1
        while (name := base if number == 1 else f"{base}-{number}") in taken:
            number += 1
        return name

    def message(self, held: HeldObject) -> objects_pb2.Object:
        """An object as the API shows it."""
        message = objects_pb2.Object(
            name=held.name,
            lifetime=lifetime_message(held.session),
            programs=[
                objects_pb2.ObjectProgram(
                    name=item.name,
                    section=item.section,
                    id=item.id,
                    type=item.type,  # type: ignore[arg-type]
                    expected_attach_type=item.expected_attach_type,
                )
                for item in held.loaded.programs.values()
            ],
            maps=[
                objects_pb2.ObjectMap(
                    name=item.name,
                    id=item.id,
                    type=item.type,  # type: ignore[arg-type]
                    reused=item.reused,
                    pin_path=item.pinned,
                    record_type=item.record_type,
                )
                for item in held.loaded.maps.values()
            ],
            links=[link.message() for link in self.links_of(held.name)],
            session_label=held.label,
            metrics=held.metrics,
        )
        message.loaded_at.FromNanoseconds(int(held.loaded_at * 1e9))
        return message

    def messages(self) -> list[objects_pb2.Object]:
        """Every object as the API shows it, in the order of loading."""
        with self.lock:
            return [self.message(held) for held in self.objects.values()]

    def metrics(self) -> list[tuple[str, objects_pb2.Metric]]:
        """(object, metric) of every object, in the order of loading."""
        with self.lock:
            return [
                (held.name, item) for held in self.objects.values() for item in held.metrics
            ]

    def types_of(self, name: str) -> dict[str, tuple[int, int]]:
        """(program type, expected attach type) by name. Raises NotFound."""
        with self.lock:
            return {
                item.name: (item.type, item.expected_attach_type)
                for item in self.object(name).loaded.programs.values()
            }

    def member_of_map(self, number: int) -> tuple[str, str] | None:
        """(object, full name) of a map of this daemon by kernel id."""
        return self.map_members().get(number)

    def objects_with_map(self, number: int) -> list[str]:
        """Objects of this daemon that hold a map, by its kernel id."""
        with self.lock:
            return [
                held.name
                for held in self.objects.values()
                if any(item.id == number for item in held.loaded.maps.values())
            ]

    def map_members(self) -> dict[int, tuple[str, str]]:
        """(object, full name) of every map of this daemon; first holder first."""
        with self.lock:
            members: dict[int, tuple[str, str]] = {}
            for held in self.objects.values():
                for item in held.loaded.maps.values():
                    members.setdefault(item.id, (held.name, item.name))
            return members

    def program_members(self) -> dict[int, tuple[str, str]]:
        """(object, full name) of every program of this daemon."""
        with self.lock:
            return {
                item.id: (held.name, item.name)
                for held in self.objects.values()
                for item in held.loaded.programs.values()
            }

    @contextmanager
    def map_fd(self, ref: common_pb2.MapRef) -> Iterator[int]:
        """An fd of a map, for the time of the `with`."""
        fd = self._map_fd(ref)
        try:
            yield fd
        finally:
            os.close(fd)

    def _map_fd(self, ref: common_pb2.MapRef) -> int:
        match ref.WhichOneof("ref"):
            case "id":
                return _by_id("map", Cmd.MAP_GET_FD_BY_ID, ref.id)
            case "member":
                with self.lock:
                    maps = self.object(ref.member.object).loaded.maps
                    if ref.member.name not in maps:
                        raise _no_member("map", ref.member, maps)
                    return os.dup(maps[ref.member.name].fd)
            case "pin_path":
                return _pinned("map", ref.pin_path)
            case _:
                raise InvalidArgument("map", "say which: an id, OBJECT/NAME or a pinned path")

    @contextmanager
    def program(self, ref: common_pb2.ProgramRef) -> Iterator[tuple[Program, str]]:
        """A program and the name of its object ("": foreign), for the time of the `with`."""
        program, owner = self._program(ref)
        try:
            yield program, owner
        finally:
            os.close(program.fd)

    def _program(self, ref: common_pb2.ProgramRef) -> tuple[Program, str]:
        if ref.WhichOneof("ref") == "member":
            with self.lock:
                programs = self.object(ref.member.object).loaded.programs
                if ref.member.name not in programs:
                    raise _no_member("program", ref.member, programs)
                found = programs[ref.member.name]
                return Program(
                    os.dup(found.fd),
                    found.id,
                    found.name,
                    found.type,
                    found.expected_attach_type,
                ), ref.member.object
        if ref.WhichOneof("ref") == "id":
            fd = _by_id("program", Cmd.PROG_GET_FD_BY_ID, ref.id)
        elif ref.WhichOneof("ref") == "pin_path":
            fd = _pinned("program", ref.pin_path)
        else:
            raise InvalidArgument("program", "say which: an id, OBJECT/NAME or a pinned path")
        try:
            info = prog_info(fd)
        except OSError as error:
            os.close(fd)
            raise KernelError("reading the program", error.errno or 0) from None
        with self.lock:
            owner, name = self.program_members().get(info.id, ("", info.name.decode()))
            known = self.objects[owner].loaded.programs[name] if owner else None
        attach_type = known.expected_attach_type if known else 0
        return Program(fd, info.id, name, info.type, attach_type), owner


def _by_id(kind: str, command: int, number: int) -> int:
    try:
        return syscall.fd_by_id(command, number)
    except FileNotFoundError:
        raise NotFound(kind, f"id {number}", hint=f"`bpfctl {kind} list` shows them") from None
    except PermissionError:
        raise PermissionMissing("CAP_SYS_ADMIN", action=f"opening a {kind} by id") from None
    except OSError as error:
        raise KernelError(f"opening {kind} {number}", error.errno or 0) from None


def _pinned(kind: str, path: str) -> int:
    if not path.startswith("/"):
        raise InvalidArgument("pin_path", f"{path!r} is not an absolute path")
    try:
        fd = syscall.obj_get(path)
    except FileNotFoundError:
        raise NotFound("pin", path) from None
    except PermissionError:
        raise InvalidArgument("pin_path", f"{path} is not a pinned {kind}") from None
    except OSError as error:
        raise KernelError(f"opening {path}", error.errno or 0) from None
    # BPF_OBJ_GET_INFO_BY_FD fills whatever structure it is given.
    if not _is(kind, fd):
        os.close(fd)
        raise InvalidArgument("pin_path", f"{path} is not a pinned {kind}")
    return fd


def _is(kind: str, fd: int) -> bool:
    """By /proc/self/fdinfo; that of a link names its program too."""
    said = fdinfo(fd)
    if kind == "map":
        return "map_id" in said
    return "prog_id" in said and "link_id" not in said


def _no_member(
    kind: str, member: common_pb2.ObjectMember, there: dict[str, object] | object
) -> NotFound:
    names = list(there) if isinstance(there, dict) else []
    return NotFound(
        kind,
        f"{member.object}/{member.name}",
        difflib.get_close_matches(member.name, names, 3),
        f"object {member.object} has {', '.join(names) or 'none'}",
    )
