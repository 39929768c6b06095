# SPDX-License-Identifier: Apache-2.0
"""Switching boards on: image, QEMU, SSH, target, daemon."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace

from bpfctl.config import AdbTarget, SshTarget, check_name
from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.progress import Progress, silent

from . import boot, image, recipe, rootfs, state, targets
from .board import READY_SECONDS, Board
from .errors import LabError
from .keys import keys
from .qemu import Hardware
from .wire import in_use

ADDRESS = "10.9.0.2/24"
"""Of eth1."""

JOINED_ADDRESS = "10.9.0.3/24"
"""Of eth1 of a board that is joined to another."""

_RTC = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?")


@dataclass(frozen=True)
class Wishes:
    """What a board shall be; empty and 0: as its recipe says."""

    name: str = ""
    """Of the board and of its target; empty: the recipe's."""
    memory: int = 0
    """MiB."""
    cpus: int = 0
    adb: bool = False
    """With adbd, by which the target is reached."""
    android: bool = False
    """The look of Android, with adbd."""
    join: str = ""
    """A board that runs, whose eth1 is put at the other end of this one's."""
    rtc: str = ""
    """What the clock shows at the start, UTC: "1970-01-01T00:00:00"; empty: the time."""
    password: str = ""
    """Of root over SSH; empty: keys alone are taken."""
    cmdline: str = ""
    """For the kernel, beside what it gets anyway."""

    @property
    def look(self) -> rootfs.Look:
        return rootfs.Look(self.adb, self.android)


AS_RECIPE = Wishes()
"""A board as its recipe says."""


def up(
    board_name: str,
    wishes: Wishes = AS_RECIPE,
    *,
    refresh: bool = False,
    register: bool = True,
    daemon: bool = True,
    timeout: float = READY_SECONDS,
    progress: Progress = silent,
) -> Board:
    """Switch on the board of a recipe; it answers when this returns.

    `refresh`: ask the archive for a newer kernel first. `register`: as a target of the
    board's name. `daemon`: put bpfd there and start it. `timeout`: seconds from the start of
    QEMU until the board answers. A board that runs already stays as it is, but for its daemon.

    Raises NotFound, InvalidArgument, LabError, ArchiveError.
    """
    made = recipe.find(board_name)
    name = check_name(wishes.name or made.name)
    _check(wishes, name)
    if register:
        targets.check(name)
    with state.locked(name) as place:
        before = _running(place)
        if before is not None:
            found = _same(before, made, wishes)
            # Who started it may have been ended before it was up.
            found.wait_ready(timeout, progress=progress)
        else:
            boot.check_program(made)
            built = image.build(made, wishes.look, refresh=refresh, progress=progress)
            found = _boot(made, wishes, name, place, built, timeout, progress)
    try:
        return _as_target(found, register, daemon, progress)
    except BaseException:
        if before is None:
            found.down()
        raise


def _as_target(found: Board, register: bool, daemon: bool, progress: Progress) -> Board:
    """Put a daemon on a board and note it as a target, each if it is wanted."""
    if register:
        targets.note(found.name, found.target)
    if not daemon:
        return found
    from bpfctl import bootstrap

    config = bootstrap.up(found.name, found.target, progress=progress).config
    assert isinstance(config, SshTarget | AdbTarget)
    running = replace(found.running, home=config.home)
    with state.locked(found.name) as place:
        place.write(running)
    found.forget_shell()
    found = Board(running)
    if register:
        targets.note(found.name, found.target)
    return found


def _check(wishes: Wishes, name: str) -> None:
    if wishes.memory and not 64 <= wishes.memory <= 65_536:
        raise InvalidArgument("memory", f"{wishes.memory} MiB is not between 64 and 65536")
    if wishes.cpus and not 1 <= wishes.cpus <= 8:
        raise InvalidArgument("cpus", f"{wishes.cpus} is not between 1 and 8")
    if wishes.rtc and not _RTC.fullmatch(wishes.rtc):
        raise InvalidArgument("rtc", f"{wishes.rtc!r} is not like 1970-01-01T00:00:00")
    if "\n" in wishes.password or "\0" in wishes.password:
        raise InvalidArgument("password", "it has characters that nobody can type")
    if wishes.join == name:
        raise InvalidArgument("join", "a board cannot be joined to itself")


def _running(place: state.Place) -> state.Running | None:
    """What runs here; cleans up after what does not."""
    noted = place.read()
    if noted is not None and noted.process.alive:
        return noted
    if place.folder.exists():
        boot.stop(place)
    return None


def _same(running: state.Running, made: recipe.Recipe, wishes: Wishes) -> Board:
    """The board that runs, if it is what is asked for."""
    differs = [
        word
        for word, is_so in (
            (f"of {running.recipe}", running.recipe != made.name),
            (f"with {running.memory} MiB", wishes.memory not in (0, running.memory)),
            (f"with {running.cpus} CPUs", wishes.cpus not in (0, running.cpus)),
            ("not of that look", wishes.look.android != running.android),
            ("not of that look", wishes.look.has_adb != bool(running.adb_port)),
            ("joined to another", wishes.join not in ("", running.joined)),
        )
        if is_so
    ]
    if differs:
        raise LabError(
            f"{running.name} is up already, {differs[0]}",
            f"`bpfctl lab down {running.name}` first, or give another --name",
        )
    return Board(running)


def _boot(
    made: recipe.Recipe,
    wishes: Wishes,
    name: str,
    place: state.Place,
    built: image.Image,
    timeout: float,
    progress: Progress,
) -> Board:
    own = keys()
    other = _other(wishes.join) if wishes.join else place
    place.make()
    hardware = Hardware(
        name=name,
        memory=wishes.memory or made.memory,
        cpus=wishes.cpus or made.cpus,
        ssh_port=0,
        adb_port=1 if wishes.look.has_adb else 0,
        rtc=wishes.rtc,
        cmdline=f"{made.cmdline} {wishes.cmdline}".strip(),
    )
    overlay = rootfs.overlay(
        wishes.look,
        own,
        name=name,
        address=JOINED_ADDRESS if wishes.join else ADDRESS,
        password=wishes.password,
    )
    try:
        process, hardware = boot.start(made, built, overlay, hardware, place, other)
        place.known_hosts.write_text(own.known_host(hardware.ssh_port))
        running = state.Running(
            name=name,
            recipe=made.name,
            arch=made.arch,
            release=built.release,
            memory=hardware.memory,
            cpus=hardware.cpus,
            process=process,
            ssh_port=hardware.ssh_port,
            adb_port=hardware.adb_port,
            android=wishes.android,
            joined=wishes.join,
            since=time.time(),
        )
        place.write(running)
        found = Board(running)
        found.wait_ready(timeout, progress=progress)
    except BaseException:
        boot.stop(place)
        raise
    return found


def _other(name: str) -> state.Place:
    """The place of a board to be joined; its wire must have a free end."""
    running = board(name).running
    if running.joined:
        raise LabError(f"{name} is joined to {running.joined} already")
    place = state.place(name)
    if in_use(place.wire_here):
        raise LabError(
            f"the wire of {name} is in use",
            "another board is joined there, or a program on this machine holds it",
        )
    return place


def board(name: str) -> Board:
    """A board that runs; raises NotFound."""
    running = state.place(name).read()
    if running is None or not running.process.alive:
        names = [each.name for each in state.running()]
        raise NotFound(
            "running board", name, names, "`bpfctl lab list` shows all, `lab up` starts one"
        )
    return Board(running)


def boards() -> list[Board]:
    """All boards that run."""
    return [Board(each) for each in state.running()]


def down(name: str) -> None:
    """Switch a board off; raises NotFound.

    Cleans up after one that has ended by itself, or with this machine.
    """
    place = state.place(name)
    noted = place.read()
    if noted is not None:
        Board(noted).down()
        if noted.process.alive:
            raise LabError(f"{name} does not end")
        return
    with state.locked(name) as place:
        if not targets.forget(name) and not place.folder.exists():
            board(name)
        boot.stop(place)


def down_all() -> None:
    """Switch all boards off, and clean up after those that have ended."""
    for name in dict.fromkeys([*(each.name for each in state.running()), *targets.noted()]):
        down(name)
