# SPDX-License-Identifier: Apache-2.0
"""A target: everything that its daemon can be asked, as typed calls."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import grpc

from bpfctl.config import TargetConfig, resolve
from bpfctl.errors import (
    ApiMismatch,
    BpfctlError,
    InvalidArgument,
    NotFound,
    TargetUnreachable,
    detail_of,
)
from bpfctl.rpc import Rpc
from bpfctl.transport import Connection, open_connection
from bpfd.v1 import target_pb2

if TYPE_CHECKING:
    from bpfctl.btf_store import BtfStore
    from bpfctl.events import EventStream
    from bpfctl.files import Files
    from bpfctl.maps import Map
    from bpfctl.objects import LoadedObject, LoadSettings
    from bpfctl.records import RecordReader
    from bpfctl.sessions import Session
    from bpfd.v1 import attach_pb2, common_pb2, links_pb2, objects_pb2


class Target:
    """A connection to a daemon; a context manager that closes it.

    Every method raises the kinds of `bpfctl.errors`.
    """

    def __init__(self, name: str, connection: Connection, timeout: float = 10.0) -> None:
        """Use `connect`."""
        self.name = name
        self._connection = connection
        self.rpc = Rpc(name, connection)
        """The services themselves, for calls that have no method here."""
        self._info = self._hello(timeout)

    @classmethod
    def connect(cls, name: str | None = None, *, timeout: float = 10.0) -> Target:
        """See `bpfctl.connect`."""
        resolved, config = resolve(name)
        return cls.open(resolved, config, timeout=timeout)

    @classmethod
    def open(cls, name: str, config: TargetConfig, *, timeout: float = 10.0) -> Target:
        """As `connect`, for settings that stand in no file."""
        try:
            connection = open_connection(name, config, timeout)
        except TargetUnreachable as error:
            error.before_daemon = True
            raise
        try:
            return cls(name, connection, timeout)
        except BaseException:
            connection.close()
            raise

    def _hello(self, timeout: float) -> target_pb2.TargetInfo:
        """What the daemon is; ApiMismatch where it is something else."""
        try:
            return self.rpc.target.GetTarget(target_pb2.GetTargetRequest(), timeout=timeout)
        except grpc.RpcError as error:
            raise self._no_answer(error, timeout) from None

    def _no_answer(self, error: grpc.RpcError, timeout: float) -> BpfctlError:
        code = error.code() if isinstance(error, grpc.Call) else None
        if isinstance(error, grpc.Call) and detail_of(error) is None:
            # INTERNAL without detail: of the client's own gRPC, which cannot read the answer.
            unread = code is grpc.StatusCode.INTERNAL and "deserializing" in str(
                error.details()
            )
            if code is grpc.StatusCode.UNIMPLEMENTED or unread:
                return ApiMismatch(
                    self.name,
                    "it does not speak bpfd.v1",
                    "install the bpfd of this bpfctl's version there, or the other way round",
                )
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                return TargetUnreachable(
                    self.name, f"no answer within {timeout:g} s", "is the daemon stopped?"
                )
        return self.rpc.error(error, "Target.GetTarget")

    def close(self) -> None:
        """End every call and session and close the connection."""
        self._connection.close()

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def info(self, *, features: bool = False) -> target_pb2.TargetInfo:
        """What the machine is; with `features` also what its kernel was found able to do."""
        if features and not self._info.features:
            request = target_pb2.GetTargetRequest(features=True)
            self._info = self.rpc.call(self.rpc.target.GetTarget, request, "Target.GetTarget")
        return self._info

    @cached_property
    def btf(self) -> BtfStore:
        """BTF of the kernel and of loaded objects, fetched once."""
        from bpfctl.btf_store import BtfStore

        return BtfStore(self.rpc, self._info, self.name)

    @cached_property
    def files(self) -> Files:
        """Files of the target."""
        from bpfctl.files import Files

        return Files(self.rpc)

    def session(self, label: str, grace: float = 0.0) -> Session:
        """A new session, see `bpfctl.sessions`; `grace` in seconds."""
        from bpfctl.sessions import Session

        return Session(self, label, grace)

    # Objects

    def load(
        self,
        elf: bytes,
        name: str,
        *,
        session: Session | None = None,
        settings: LoadSettings | None = None,
        replace: bool = False,
        timeout: float | None = None,
    ) -> LoadedObject:
        """Load an ELF object under a name that is unique in the daemon.

        It lives as long as `session`; without one it is pinned until `unload`. `replace`
        takes the place of an object of that name: maps stay, links move over atomically.

        To a kernel without BTF goes what the object needs of it, where this workstation
        knows it (`bpfctl.kernelbtf`); NotSupported says how to get it.
        """
        from bpfctl.objects import LoadedObject, LoadSettings, check_size
        from bpfd.v1 import objects_pb2

        check_size(elf, self._info.limits.object_bytes)
        settings = settings or LoadSettings()
        options = self._options(elf, settings)
        request = objects_pb2.LoadRequest(
            name=name, elf=elf, options=options, replace=replace, metrics=settings.metrics
        )
        request.lifetime.CopyFrom(_lifetime(session))
        answer = self.rpc.call(self.rpc.objects.Load, request, "Objects.Load", timeout)
        return LoadedObject(self, answer.object, session, answer.logs, answer.warnings)

    def verify(
        self, elf: bytes, settings: LoadSettings | None = None, timeout: float | None = None
    ) -> objects_pb2.VerifyResponse:
        """Load an object and throw it away: what the verifier says of each program."""
        from bpfctl.objects import LoadSettings, check_size
        from bpfd.v1 import objects_pb2

        check_size(elf, self._info.limits.object_bytes)
        options = self._options(elf, settings or LoadSettings())
        request = objects_pb2.VerifyRequest(elf=elf, options=options)
        return self.rpc.call(self.rpc.objects.Verify, request, "Objects.Verify", timeout)

    def _options(self, elf: bytes, settings: LoadSettings) -> objects_pb2.LoadOptions:
        """Settings on the wire; with what an object needs of a kernel without BTF."""
        options = settings.options(elf)
        if not self._info.btf_sha256:
            from bpfctl.kernelbtf.shipping import for_object

            options.kernel_btf = for_object(
                elf, self.name, self._info, settings.skip, settings.also
            )
        return options

    def objects(self) -> list[LoadedObject]:
        """Every object that the daemon holds."""
        from bpfctl.objects import LoadedObject
        from bpfd.v1 import objects_pb2

        request = objects_pb2.ListObjectsRequest()
        answer = self.rpc.call(self.rpc.objects.List, request, "Objects.List")
        return [LoadedObject(self, message) for message in answer.objects]

    def object(self, name: str) -> LoadedObject:
        """An object by its name; raises NotFound."""
        from bpfctl.objects import LoadedObject
        from bpfd.v1 import objects_pb2

        request = objects_pb2.GetObjectRequest(name=name)
        return LoadedObject(self, self.rpc.call(self.rpc.objects.Get, request, "Objects.Get"))

    def unload(self, name: str) -> list[str]:
        """Detach an object's links and drop it; gives the names of the links."""
        from bpfd.v1 import objects_pb2

        request = objects_pb2.UnloadRequest(name=name)
        return list(self.rpc.call(self.rpc.objects.Unload, request, "Objects.Unload").links)

    # Programs

    def programs(
        self, *, owners: bool = False, types: Sequence[int] = ()
    ) -> list[common_pb2.KernelProgram]:
        """Every program of the kernel; `owners` also finds holders, pins, objects, links."""
        from bpfd.v1 import programs_pb2

        request = programs_pb2.ListProgramsRequest(owners=owners)
        request.types.extend(types)  # type: ignore[arg-type]
        return list(self.rpc.call(self.rpc.programs.List, request, "Programs.List").programs)

    def program(
        self, program: int | str | common_pb2.ProgramRef, *, owners: bool = True
    ) -> common_pb2.KernelProgram:
        """A program by OBJECT/PROGRAM, kernel id, pin path or a name that is unique."""
        from bpfd.v1 import programs_pb2

        request = programs_pb2.GetProgramRequest(
            program=self.program_ref(program), owners=owners
        )
        return self.rpc.call(self.rpc.programs.Get, request, "Programs.Get")

    def program_ref(self, program: int | str | common_pb2.ProgramRef) -> common_pb2.ProgramRef:
        """The reference of a program; looks a bare name up among all programs."""
        from bpfctl.references import program_ref
        from bpfd.v1 import common_pb2

        ref = program_ref(program)
        if ref is not None:
            return ref
        found = _owner(
            "program",
            str(program),
            [
                (entry.name, held.name)
                for held in self.objects()
                for entry in held.message.programs
            ],
        )
        if found is not None:
            return common_pb2.ProgramRef(member=found)
        every = [(entry.name, entry.id) for entry in self.programs()]
        return common_pb2.ProgramRef(id=_by_name("program", str(program), every))

    # Links

    def attach(
        self,
        program: int | str | common_pb2.ProgramRef,
        point: str | attach_pb2.AttachPoint,
        *,
        name: str = "",
        session: Session | None = None,
    ) -> objects_pb2.Link:
        """Attach a program; the link lives as long as `session`, else as its object.

        A program that is no member of an object is pinned with its link until `detach`.
        `point` is an attach point or its text, as `bpfctl attach` takes it; a map or program
        in it without an object is one of the program's own object.
        """
        from bpfd.v1 import links_pb2

        if isinstance(point, str):
            from bpfctl.aim import checked

            point = checked(self, program, point)
        request = links_pb2.AttachRequest(
            program=self.program_ref(program), point=point, name=name
        )
        _complete(request.point, request.program.member.object)
        if session is not None or request.program.WhichOneof("ref") != "member":
            request.lifetime.CopyFrom(_lifetime(session))
        return self.rpc.call(self.rpc.links.Attach, request, "Links.Attach")

    def detach(self, link: str | int) -> objects_pb2.Link:
        """Detach a link by its name, or by the kernel id of a link of this daemon."""
        from bpfd.v1 import links_pb2

        request = (
            links_pb2.DetachRequest(link_id=link)
            if isinstance(link, int)
            else links_pb2.DetachRequest(name=link)
        )
        return self.rpc.call(self.rpc.links.Detach, request, "Links.Detach").link

    def update_link(
        self,
        link: str,
        program: int | str | common_pb2.ProgramRef,
        *,
        expected_program_id: int = 0,
    ) -> links_pb2.UpdateLinkResponse:
        """Put another program in place of a link's, with no moment without one."""
        from bpfd.v1 import links_pb2

        request = links_pb2.UpdateLinkRequest(
            name=link,
            program=self.program_ref(program),
            expected_program_id=expected_program_id,
        )
        return self.rpc.call(self.rpc.links.Update, request, "Links.Update")

    def read_link(self, link: str | int, *, max_bytes: int = 0) -> Generator[bytes, None, None]:
        """What an iterator writes in one run, in pieces; by name, or by a kernel id of any.

        LimitExceeded after `max_bytes`; 0: 64 MiB.
        """
        from bpfd.v1 import links_pb2

        request = (
            links_pb2.ReadLinkRequest(link_id=link, max_bytes=max_bytes)
            if isinstance(link, int)
            else links_pb2.ReadLinkRequest(name=link, max_bytes=max_bytes)
        )
        with self.rpc.stream(self.rpc.links.Read, request, "Links.Read") as stream:
            for chunk in stream:
                yield chunk.data

    def links(self) -> list[objects_pb2.Link]:
        """The daemon's links."""
        return list(self.all_links(kernel=False).links)

    def all_links(self, *, kernel: bool = True) -> links_pb2.ListLinksResponse:
        """The daemon's links, and every link of the kernel."""
        from bpfd.v1 import links_pb2

        request = links_pb2.ListLinksRequest(kernel=kernel)
        return self.rpc.call(self.rpc.links.List, request, "Links.List")

    def attachments(self, *, effective: bool = False) -> list[links_pb2.Attachment]:
        """Every place where the kernel runs a program, whoever put it there.

        `effective`: for each cgroup also the programs from above that run for it.
        """
        return list(self.machine(effective=effective, programs=False).attachments)

    def machine(
        self, *, effective: bool = False, programs: bool = True
    ) -> links_pb2.ListAttachmentsResponse:
        """Every attachment, with every program and map and their holders, of one moment."""
        from bpfd.v1 import links_pb2

        request = links_pb2.ListAttachmentsRequest(
            programs=programs, maps=programs, effective=effective
        )
        return self.rpc.call(self.rpc.links.ListAttachments, request, "Links.ListAttachments")

    # Maps and events

    def maps(
        self, *, owners: bool = False, types: Sequence[int] = ()
    ) -> list[common_pb2.KernelMap]:
        """Every map of the kernel; `owners` also finds holders, pins and objects."""
        from bpfd.v1 import maps_pb2

        request = maps_pb2.ListMapsRequest(owners=owners)
        request.types.extend(types)  # type: ignore[arg-type]
        return list(self.rpc.call(self.rpc.maps.List, request, "Maps.List").maps)

    def map(self, entry: int | str | common_pb2.MapRef) -> Map:
        """A map by OBJECT/MAP, kernel id, pin path or a name that is unique."""
        from bpfctl.maps import Map

        return Map(self, self.map_ref(entry))

    def map_ref(self, entry: int | str | common_pb2.MapRef) -> common_pb2.MapRef:
        """The reference of a map; looks a bare name up among all maps."""
        from bpfctl.references import map_ref
        from bpfd.v1 import common_pb2

        ref = map_ref(entry)
        if ref is not None:
            return ref
        found = _owner(
            "map",
            str(entry),
            [(item.name, held.name) for held in self.objects() for item in held.message.maps],
        )
        if found is not None:
            return common_pb2.MapRef(member=found)
        every = [(item.name, item.id) for item in self.maps()]
        return common_pb2.MapRef(id=_by_name("map", str(entry), every))

    def events(
        self,
        entry: int | str | common_pb2.MapRef,
        *,
        lost_map: int | str | common_pb2.MapRef | None = None,
        queue_bytes: int = 0,
        batch_bytes: int = 0,
        type_name: str = "",
        where: str = "",
    ) -> EventStream:
        """Records of a ring buffer or perf event array as they come, see `bpfctl.events`.

        `type_name` is their struct, where BTF does not tell it; `where` a condition on its
        fields (`bpfctl.where`) for `arrays()` and `rows()` of the stream.

        Raises InvalidArgument for a condition that does not fit, before the subscription.
        """
        from bpfctl.events import EventStream
        from bpfctl.records import reader
        from bpfd.v1 import events_pb2

        ref = self.map_ref(entry)
        request = events_pb2.SubscribeRequest(
            map=ref, queue_bytes=queue_bytes, batch_bytes=batch_bytes
        )
        if lost_map is not None:
            request.lost_map.CopyFrom(self.map_ref(lost_map))

        def make() -> RecordReader:
            return reader(self.map(ref), type_name, where=where)

        if where:
            made = make()
            return EventStream(self.rpc, request, lambda: made)
        return EventStream(self.rpc, request, make)

    def trace_pipe(self) -> Iterator[bytes]:
        """What bpf_printk() writes, in whole lines."""
        from bpfd.v1 import events_pb2

        request = events_pb2.TracePipeRequest()
        with self.rpc.stream(self.rpc.events.TracePipe, request, "Events.TracePipe") as stream:
            for chunk in stream:
                yield chunk.lines


def _complete(point: attach_pb2.AttachPoint, owner: str) -> None:
    """Bare names of maps and programs in an attach point are those of this object."""
    kind = point.WhichOneof("point")
    for described, value in getattr(point, kind).ListFields() if kind else ():
        if described.message_type is None:
            continue
        refers = described.message_type.name in ("MapRef", "ProgramRef")
        if refers and value.WhichOneof("ref") == "member" and not value.member.object:
            value.member.object = owner


def _lifetime(session: Session | None) -> common_pb2.Lifetime:
    from bpfd.v1 import common_pb2

    if session is not None:
        return common_pb2.Lifetime(session=session.id)
    return common_pb2.Lifetime(pinned=common_pb2.Pinned())


def _owner(
    kind: str, name: str, entries: list[tuple[str, str]]
) -> common_pb2.ObjectMember | None:
    """The member of one of the daemon's objects that is called `name`; None: there is none."""
    from bpfd.v1 import common_pb2

    owners = sorted({owner for entry, owner in entries if entry == name})
    if len(owners) > 1:
        choices = ", ".join(f"{owner}/{name}" for owner in owners[:8])
        raise InvalidArgument(kind, f"{len(owners)} are called {name!r}: {choices}")
    return common_pb2.ObjectMember(object=owners[0], name=name) if owners else None


def _by_name(kind: str, name: str, entries: list[tuple[str, int]]) -> int:
    """The one of the kernel's that is called `name`; raises NotFound and InvalidArgument."""
    ids = sorted(number for entry, number in entries if entry == name)
    if len(ids) == 1:
        return ids[0]
    if ids:
        choices = ", ".join(str(number) for number in ids[:8])
        raise InvalidArgument(kind, f"{len(ids)} are called {name!r}: say an id ({choices})")
    import difflib

    near = difflib.get_close_matches(name, {entry for entry, _ in entries if entry}, 3)
    raise NotFound(kind, name, near, f"`bpfctl {kind} list` shows all")
