# SPDX-License-Identifier: Apache-2.0
"""Loading, replacing, unloading, and taking over what an earlier daemon had pinned."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from bpfd import work
from bpfd.attach.attachment import Program
from bpfd.attach.chain import pins as chain_pins
from bpfd.errors import BpfdError, InvalidArgument, KernelError, LeaseExpired
from bpfd.kernel import elf_object
from bpfd.kernel.info import map_info
from bpfd.kernel.load_options import (
    Cancel,
    Cancelled,
    Inspect,
    Loaded,
    LoadOptions,
    MapSetting,
)
from bpfd.metrics import declaration
from bpfd.objects import adoption, load_request, replacing, spec, verifier_log, verifying
from bpfd.objects.links import Links, session_of
from bpfd.objects.registry import HeldLink, HeldObject, Registry
from bpfd.objects.store import Journal, PinNotes, Store
from bpfd.objects.verifying import Adjust
from bpfd.sessions import Sessions
from bpfd.v1 import common_pb2, objects_pb2

_log = logging.getLogger("bpfd.objects")


class Objects:
    """Every object and link of a daemon. Methods block; call them from worker threads."""

    def __init__(self, bpffs_dir: str, state_dir: str, sessions: Sessions) -> None:
        self.registry = Registry()
        self._bpffs = bpffs_dir
        self._sessions = sessions
        self._store = Store(bpffs_dir, state_dir)
        chain_pins.folder = self._store.chains
        self.pin_notes = PinNotes(state_dir)
        self.links = Links(self.registry, self._store, Journal(state_dir), sessions)
        self.on_unload: list[Callable[[set[int]], None]] = []
        """Told the kernel ids of maps that this daemon lets go, before it does."""
        sessions.on_end.append(self._session_ended)

    def take_over(self) -> None:
        """Settles what an earlier daemon left, and adopts what it had pinned."""
        adoption.take_over(self.registry, self._store, self.links)

    def map_fd(self, ref: common_pb2.MapRef) -> AbstractContextManager[int]:
        """An fd of a map, for the time of the `with`. Raises NotFound."""
        return self.registry.map_fd(ref)

    def program_fd(
        self, ref: common_pb2.ProgramRef
    ) -> AbstractContextManager[tuple[Program, str]]:
        """A program and its object, for the time of the `with`. Raises NotFound."""
        return self.registry.program(ref)

    def member_of_map(self, number: int) -> tuple[str, str] | None:
        """(object, full name) of a map of this daemon by kernel id."""
        return self.registry.member_of_map(number)

    def load(
        self, request: objects_pb2.LoadRequest, cancelled: Cancel, inspect: Inspect
    ) -> objects_pb2.LoadResponse:
        """Loads a new object, or the next version of one. All or nothing."""
        load_request.check_source(request)
        declaration.check(request.metrics)
        session = session_of(request.lifetime, self._sessions)
        with self.registry.reserve(request.name, replace=request.replace):
            old = self.registry.objects.get(request.name)
            if old is None:
                return self._load_new(request, session, cancelled, inspect)
            return self._replace(old, request, session, cancelled, inspect)

    def _load(
        self,
        request: objects_pb2.LoadRequest | objects_pb2.VerifyRequest,
        name: str,
        cancelled: Cancel,
        adjust: Adjust,
    ) -> Loaded:
        with ExitStack() as stack:
            options = adjust(
                load_request.options(
                    request.options, self.registry, stack, pin_root=self._bpffs
                )
            )
            if request.WhichOneof("source") == "elf":
                return _labelled(
                    elf_object.load(name, request.elf, options, cancelled), options
                )
            if options.inspect is not None:
                options.inspect(
                    {
                        item.name: (item.type, item.expected_attach_type)
                        for item in request.spec.programs
                    }
                )

            def program_fd(ref: common_pb2.ProgramRef) -> int:
                return stack.enter_context(self.registry.program(ref))[0].fd

            def map_fd(ref: common_pb2.MapRef) -> int:
                return stack.enter_context(self.registry.map_fd(ref))

            loaded = spec.load(request.spec, options, map_fd, program_fd, cancelled)
            return _labelled(loaded, options)

    def _load_new(
        self,
        request: objects_pb2.LoadRequest,
        session: str | None,
        cancelled: Cancel,
        inspect: Inspect,
    ) -> objects_pb2.LoadResponse:
        def adjust(options: LoadOptions) -> LoadOptions:
            return dataclasses.replace(options, inspect=inspect, pin_by_name=session is None)

        loaded = self._load(request, request.name, cancelled, adjust)
        held = HeldObject(request.name, session, loaded)
        held.label = self._sessions.label(session) if session else ""
        try:
            if cancelled():
                raise Cancelled
            held.metrics = self._metrics(request, loaded)
            if session is None:
                self._pin(held)
            with self.registry.lock:
                if session is not None:
                    self._sessions.require(session)
                self.registry.objects[held.name] = held
        except BaseException:
            loaded.unpin()
            loaded.close()
            raise
        return _response(self.registry.message(held), loaded)

    def _pin(self, held: HeldObject) -> None:
        try:
            self._store.add(held.name, held.loaded, self.registry.message(held))
        except OSError as error:
            raise KernelError(f"pinning object {held.name}", error.errno or 0) from None

    def _replace(
        self,
        old: HeldObject,
        request: objects_pb2.LoadRequest,
        session: str | None,
        cancelled: Cancel,
        inspect: Inspect,
    ) -> objects_pb2.LoadResponse:
        if old.session != session:
            raise InvalidArgument("lifetime", f"object {old.name} has another owner")
        links = self.registry.links_of(old.name)

        def check(types: dict[str, tuple[int, int]]) -> None:
            inspect(types)
            for link in links:
                if link.program not in types:
                    raise InvalidArgument(
                        "source",
                        f"link {link.name} runs program {link.program}, which the new object "
                        "does not have; detach it first",
                    )

        with ExitStack() as stack:
            reuse = self._maps_to_keep(old, request, stack)

            def adjust(options: LoadOptions) -> LoadOptions:
                maps = dict(options.maps)
                for name, fd in reuse.items():
                    chosen = maps.get(name, MapSetting())
                    if chosen.reuse_fd is None and replacing.keeps(chosen, fd):
                        maps[name] = dataclasses.replace(chosen, reuse_fd=fd)
                return dataclasses.replace(
                    options, inspect=check, pin_by_name=session is None, maps=maps
                )

            loaded = self._load(request, request.name, cancelled, adjust)
        loaded.warnings += replacing.maps_left_behind(old.loaded, loaded)
        try:
            metrics = self._metrics(request, loaded)
        except BpfdError:
            loaded.unpin()
            loaded.close()
            raise
        return self._put_in_place(old, loaded, metrics, cancelled)

    def _metrics(
        self, request: objects_pb2.LoadRequest, loaded: Loaded
    ) -> tuple[objects_pb2.Metric, ...]:
        """What is to be shown of the maps. Raises InvalidArgument where it does not fit them,
        or what other objects show."""
        others = [pair for pair in self.registry.metrics() if pair[0] != request.name]
        for metric in request.metrics:
            found = loaded.maps.get(metric.map)
            declaration.fit(metric, map_info(found.fd) if found is not None else None)
            for owner, other in others:
                declaration.agree(metric, owner, other)
        return tuple(request.metrics)

    def _maps_to_keep(
        self, old: HeldObject, request: objects_pb2.LoadRequest, stack: ExitStack
    ) -> dict[str, int]:
        """Maps of the old version that the new one has too; not those of variables."""
        if request.WhichOneof("source") == "elf":
            names = elf_object.map_names(request.name, request.elf)
            wanted = {name for name, internal in names.items() if not internal}
        else:
            wanted = {item.name for item in request.spec.maps}
        reuse = {}
        with self.registry.lock:
            for name, item in old.loaded.maps.items():
                if name in wanted:
                    reuse[name] = os.dup(item.fd)
                    stack.callback(os.close, reuse[name])
        return reuse

    def _put_in_place(
        self,
        old: HeldObject,
        loaded: Loaded,
        metrics: tuple[objects_pb2.Metric, ...],
        cancelled: Cancel,
    ) -> objects_pb2.LoadResponse:
        """Moves the links to the new programs, then drops the old version."""
        with old.lock:
            return self._put_in_place_locked(old, loaded, metrics, cancelled)

    def _put_in_place_locked(
        self,
        old: HeldObject,
        loaded: Loaded,
        metrics: tuple[objects_pb2.Metric, ...],
        cancelled: Cancel,
    ) -> objects_pb2.LoadResponse:
        moved = []
        before = old.loaded
        try:
            if cancelled():
                raise Cancelled
            if self.registry.objects.get(old.name) is not old:
                raise LeaseExpired(old.session or "")
            if old.session is None:
                self._stage(old.name, loaded)
            for link in self.registry.links_of(old.name):
                with link.lock:
                    if self.registry.holds(link):
                        moved.append(link)
                        self.links.exchange(link, _program(loaded, link.program))
        except BaseException:
            for link in reversed(moved):
                self._move_back(link, before)
            if old.session is None:
                self._store.drop_replacement(old.name)
            loaded.unpin()
            loaded.close()
            raise
        with self.registry.lock:
            old.loaded, old.metrics, old.replaced = loaded, metrics, True
            kept = {item.id for item in loaded.maps.values()}
            for item in loaded.maps.values():
                item.pinned = item.pinned or next(
                    (was.pinned for was in before.maps.values() if was.id == item.id), ""
                )
        if old.session is None:
            self._store.commit_replacement(old.name, self.registry.message(old))
        self._let_go({item.id for item in before.maps.values()} - kept)
        for item in before.maps.values():
            if item.id in kept:
                item.pinned = ""
        before.unpin()
        before.close()
        return _response(self.registry.message(old), loaded)

    def _move_back(self, link: HeldLink, before: Loaded) -> None:
        try:
            with link.lock:
                if self.registry.holds(link) and link.program in before.programs:
                    self.links.exchange(link, _program(before, link.program))
        except BpfdError:
            _log.exception("taking back the exchange of link %s", link.name)

    def _stage(self, name: str, loaded: Loaded) -> None:
        try:
            self._store.stage_replacement(name, loaded)
        except OSError as error:
            raise KernelError(f"pinning object {name}", error.errno or 0) from None

    def unload(self, name: str) -> list[str]:
        """Detaches an object's links in reverse order, then drops it. Returns their names."""
        with self.registry.reserve(name, replace=True):
            held = self.registry.object(name)
            links = [link.name for link in self.registry.links_of(name)]
            self._drop(held)
            return links

    def undo_load(self, response: objects_pb2.LoadResponse) -> None:
        """Takes back a load whose caller has gone; a replacement that is complete stays.

        What it replaced is not there any more, and the object was not this call's to drop.
        """
        held = self.registry.objects.get(response.object.name)
        ids = {item.id for item in held.loaded.programs.values()} if held else set()
        if held and not held.replaced and ids == {each.id for each in response.object.programs}:
            self.unload(held.name)

    def _drop(self, held: HeldObject) -> None:
        with held.lock:
            self._drop_locked(held)

    def _drop_locked(self, held: HeldObject) -> None:
        for link in reversed(self.registry.links_of(held.name)):
            self.links.remove(link)
        with self.registry.lock:
            if self.registry.objects.get(held.name) is not held:
                return
            del self.registry.objects[held.name]
            others = self.registry.map_members()
        self._let_go({item.id for item in held.loaded.maps.values()} - set(others))
        if held.session is None:
            self._store.remove(held.name)
        for item in held.loaded.maps.values():
            if item.id in others and item.pinned:
                self._inherit_pin(item.pinned, item.id, others[item.id][0])
                item.pinned = ""
        held.loaded.unpin()
        held.loaded.close()

    def _inherit_pin(self, path: str, number: int, heir: str) -> None:
        """The pin of a shared map goes with the last object that holds it."""
        with self.registry.lock:
            held = self.registry.object(heir)
            for item in held.loaded.maps.values():
                if item.id == number:
                    item.pinned = path
            if held.session is None:
                self._store.note(self.registry.message(held))

    def _let_go(self, maps: set[int]) -> None:
        for callback in self.on_unload:
            callback(maps)

    async def _session_ended(self, session: str) -> None:
        await work.run(self.end_session, session)

    def end_session(self, session: str) -> None:
        """Gives back everything that a session owned, the newest first."""
        with self.registry.lock:
            links = [link for link in self.registry.links.values() if link.session == session]
            objects = [
                held for held in self.registry.objects.values() if held.session == session
            ]
        for link in reversed(links):
            with _survived(f"ending link {link.name}"):
                self.links.remove(link)
        for held in reversed(objects):
            with _survived(f"ending object {held.name}"):
                self._drop(held)

    def verify(
        self, request: objects_pb2.VerifyRequest, cancelled: Cancel, inspect: Inspect
    ) -> objects_pb2.VerifyResponse:
        """Loads each program by itself and throws it away."""

        def load(adjust: Adjust) -> Loaded:
            return self._load(request, "verify", cancelled, adjust)

        return verifying.verify(request, load, inspect)

    def close(self) -> None:
        """The daemon ends: what is pinned stays, everything else is given back."""
        with self.registry.lock:
            links, objects = (
                list(self.registry.links.values()),
                list(self.registry.objects.values()),
            )
            self.registry.links.clear()
            self.registry.objects.clear()
        for link in reversed(links):
            link.attachment.release() if link.session is None else link.attachment.close()
        for held in reversed(objects):
            held.loaded.close()
        self._store.clear()


@contextmanager
def _survived(what: str) -> Iterator[None]:
    """One failure must not keep the rest of what a session owned."""
    try:
        yield
    except (BpfdError, OSError):
        _log.exception("%s", what)


def _labelled(loaded: Loaded, options: LoadOptions) -> Loaded:
    """What the client said of maps, for those who ask later."""
    for name, setting in options.maps.items():
        if name in loaded.maps:
            loaded.maps[name].record_type = setting.record_type
    return loaded


def _program(loaded: Loaded, name: str) -> Program:
    found = loaded.programs.get(name)
    if found is None:
        raise InvalidArgument("source", f"a link runs program {name}, which it does not have")
    return Program(found.fd, found.id, found.name, found.type, found.expected_attach_type)


def _response(message: objects_pb2.Object, loaded: Loaded) -> objects_pb2.LoadResponse:
    return objects_pb2.LoadResponse(
        object=message,
        logs=[verifier_log.message(log) for log in loaded.logs],
        warnings=loaded.warnings,
    )
