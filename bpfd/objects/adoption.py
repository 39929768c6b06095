# SPDX-License-Identifier: Apache-2.0
"""What a daemon does first: finish or undo what a killed one left, take over its pins."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator

from bpfd.attach.attachment import Attachment, Program
from bpfd.attach.chain import pins as chain_pins
from bpfd.errors import BpfdError
from bpfd.kernel import program_code, syscall
from bpfd.kernel.constants import LinkType
from bpfd.kernel.holders import LINK, MAP, PROGRAM
from bpfd.kernel.info import LinkInfo, fdinfo, link_info, map_info, prog_info
from bpfd.kernel.load_options import Loaded, LoadedMap, LoadedProgram
from bpfd.metrics import declaration
from bpfd.objects.links import Links
from bpfd.objects.registry import HeldObject, Registry
from bpfd.objects.store import Found, Store
from bpfd.v1 import links_pb2, objects_pb2

_log = logging.getLogger("bpfd.objects.adoption")


def take_over(registry: Registry, store: Store, links: Links) -> None:
    """Brings registry, pins and kernel into agreement. Traffic does not notice."""
    for name in store.replacements():
        _remember_code(store)
        _settle_replacement(store, name)
    store.clear()
    _remember_code(store)
    notes: dict[str, tuple[str, objects_pb2.Link]] = {}
    for found in store.find():
        held = _object(found)
        if held is None:
            _log.warning("object %s has no pin that can be opened; removed", found.name)
            store.remove(found.name)
            continue
        registry.objects[held.name] = held
        known = {link.name: link for link in (found.note.links if found.note else ())}
        notes |= {name: (held.name, link) for name, link in known.items()}
        for name, paths in found.links.items():
            try:
                _link(store, links, held, name, paths, known.get(name))
            except (OSError, BpfdError) as error:
                _log.warning("link %s stays as it is, unknown to us: %s", name, error)
    if registry.links or chain_pins.any_left():
        from bpfd.attach import xdp
        from bpfd.attach.chain import chain as xdp_chain

        xdp_chain.settle(xdp.HOOK)
    links.settle_journal(notes)
    for held in registry.objects.values():
        store.note(registry.message(held))
        _log.info("adopted object %s", held.name)


def _settle_replacement(store: Store, name: str) -> None:
    """Forward when a link already runs the new version or the old one is gone; else back."""
    old, new = store.find_object(name), store.find_replacement(name)
    held = _object(new)
    programs = {item.id: item for item in held.loaded.programs.values()} if held else {}
    running = {
        _program_of(link, info)
        for link, paths in old.links.items()
        for info in _link_infos(paths)
    }
    forward = held is not None and (
        not old.programs or bool(new.links) or bool(running & set(programs))
    )
    if held is not None and forward:
        _log.warning("finishing the replacement of object %s", name)
        for link, paths in old.links.items():
            try:
                _move_to_new(store, held, old, link, paths)
            except (OSError, BpfdError) as error:
                _log.warning("link %s stays with the old version: %s", link, error)
        store.finish_replacement(name)
    else:
        _log.warning("undoing the replacement of object %s", name)
        store.drop_replacement(name)
    if held is not None:
        held.loaded.close()


def _move_to_new(
    store: Store, held: HeldObject, old: Found, link: str, paths: list[str]
) -> None:
    """Puts the new program into a link that still runs the old one, pin included."""
    from bpfd.attach import adopt  # brings every hook's file: only where links are found

    notes = {each.name: each for each in (old.note.links if old.note else ())}
    fds = [fd for path in paths if (fd := _open(path, LINK)) is not None]
    if not fds:
        return
    current = _program_of(link, link_info(fds[0]))
    names = {number: name for name, number in _program_ids(old).items()}
    found = held.loaded.programs.get(names.get(current, ""))
    attachment = adopt.adopt(fds, notes[link].point if link in notes else None, link)
    try:
        if found is not None:
            program = Program(
                found.fd, found.id, found.name, found.type, found.expected_attach_type
            )
            if attachment.update(program) == links_pb2.UPDATE_METHOD_OVERLAP:
                store.replace_link(old.name, link, attachment.fds)
    finally:
        attachment.release()


def _program_of(link: str, info: LinkInfo) -> int:
    """The program that a link stands for; a chain of XDP programs runs it inside another."""
    if info.type == LinkType.XDP:
        from bpfd.attach.chain import chain as xdp_chain

        return xdp_chain.program_of(info.prog_id, link) or info.prog_id
    return info.prog_id


def _remember_code(store: Store) -> None:
    """Of all programs before any is needed: chains have members of several objects."""
    waiting = [store.find_replacement(name) for name in store.replacements()]
    for found in (*store.find(), *waiting):
        for program, path in found.programs.items():
            if program in found.code and (fd := _open(path, PROGRAM)) is not None:
                number = prog_info(fd).id
                os.close(fd)
                if (code := _code(found, program)) is not None:
                    program_code.remember(number, code)


def _code(found: Found, program: str) -> program_code.Code | None:
    """What a program was loaded from, by the pin beside its own."""
    fd = _open(found.code[program], MAP) if program in found.code else None
    if fd is None:
        return None
    try:
        return program_code.from_map(fd)
    except (OSError, ValueError) as error:
        _log.warning("%s cannot be read: %s", found.code[program], error)
        return None
    finally:
        os.close(fd)


def _program_ids(found: Found) -> dict[str, int]:
    ids = {}
    for name, path in found.programs.items():
        fd = _open(path, PROGRAM)
        if fd is not None:
            ids[name] = prog_info(fd).id
            os.close(fd)
    return ids


def _object(found: Found) -> HeldObject | None:
    loaded = Loaded()
    note = found.note or objects_pb2.Object()
    noted_programs = {item.name: item for item in note.programs}
    noted_maps = {item.name: item for item in note.maps}
    for name, path in found.maps.items():
        fd = _open(path, MAP)
        if fd is not None:
            info, said = map_info(fd), noted_maps.get(name, objects_pb2.ObjectMap())
            loaded.maps[name] = LoadedMap(
                name, fd, info.id, info.type, said.reused, said.pin_path, said.record_type
            )
    for name, path in found.programs.items():
        fd = _open(path, PROGRAM)
        if fd is not None:
            program = noted_programs.get(name, objects_pb2.ObjectProgram())
            details = prog_info(fd)
            loaded.programs[name] = LoadedProgram(
                name,
                fd,
                details.id,
                details.type,
                program.expected_attach_type,
                program.section,
                _code(found, name),
            )
    if not loaded.maps and not loaded.programs:
        return None
    held = HeldObject(found.name, None, loaded)
    held.metrics = tuple(_metrics(note, loaded))
    if note.HasField("loaded_at"):
        held.loaded_at = note.loaded_at.ToNanoseconds() / 1e9
    return held


def _metrics(note: objects_pb2.Object, loaded: Loaded) -> Iterator[objects_pb2.Metric]:
    """Those of a note that its maps still allow: a file may say anything."""
    for metric in note.metrics:
        try:
            declaration.check([metric])
            found = loaded.maps.get(metric.map)
            declaration.fit(metric, map_info(found.fd) if found is not None else None)
        except BpfdError as error:
            _log.warning("a metric of object %s is left out: %s", note.name, error)
        else:
            yield metric


def _open(path: str, kind: str) -> int | None:
    """An fd of what is pinned; None for what is gone, or is of another kind."""
    try:
        fd = syscall.obj_get(path)
    except OSError as error:
        _log.warning("%s cannot be opened: %s", path, error.strerror)
        return None
    said = fdinfo(fd)  # that of a link names its program too
    if kind in said and (kind == LINK or LINK not in said):
        return fd
    _log.warning("%s is not ours: a pin without %s", path, kind)
    os.close(fd)
    return None


def _link_infos(paths: Iterable[str]) -> list[LinkInfo]:
    found = []
    for path in paths:
        fd = _open(path, LINK)
        if fd is not None:
            found.append(link_info(fd))
            os.close(fd)
    return found


def _unify(
    store: Store, held: HeldObject, name: str, attachment: Attachment, running: list[int]
) -> int:
    """One program for the links of a daemon that was killed while it exchanged them.

    They are exchanged in their order: the first one has the newest program.
    """
    programs = {item.id: item for item in held.loaded.programs.values()}
    number = next((each for each in running if each in programs), 0)
    if not number:
        return running[0]
    found = programs[number]
    _log.warning("finishing the exchange of the program of link %s", name)
    program = Program(found.fd, found.id, found.name, found.type, found.expected_attach_type)
    if attachment.update(program) == links_pb2.UPDATE_METHOD_OVERLAP:
        store.replace_link(held.name, name, attachment.fds)
    return number


def _link(
    store: Store,
    links: Links,
    held: HeldObject,
    name: str,
    paths: list[str],
    note: objects_pb2.Link | None,
) -> None:
    from bpfd.attach import adopt

    fds = [fd for path in paths if (fd := _open(path, LINK)) is not None]
    if not fds:
        return
    attachment = adopt.adopt(fds, note.point if note is not None else None, name)
    running = attachment.running()
    program_id = running[0]
    if len(set(running)) > 1:
        program_id = _unify(store, held, name, attachment, running)
    message = objects_pb2.Link(name=name, program_id=program_id)
    if note is not None:
        message.CopyFrom(note)
        message.program_id = program_id or note.program_id  # struct_ops links name none
    else:
        message.point.CopyFrom(adopt.find_point(attachment.fds))
        attachment.complete(message.point)
    for program in held.loaded.programs.values():
        if program.id == program_id:
            message.program = program.name
    links.adopt(held.name, message, attachment)
