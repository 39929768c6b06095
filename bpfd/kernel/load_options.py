# SPDX-License-Identifier: Apache-2.0
"""What a load may change in an object, and what comes out of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from bpfd.kernel import program_code
from bpfd.kernel.struct_ops import Part

DEFAULT_LOG_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class MapSetting:
    """Overrides of one map; None leaves what the object says."""

    max_entries: int | None = None
    map_flags: int | None = None
    value_size: int | None = None
    numa_node: int | None = None
    reuse_fd: int | None = None
    pin_path: str = ""
    record_type: str = ""


@dataclass(frozen=True)
class ProgramSetting:
    """Overrides of one program; None leaves what the object says."""

    load: bool | None = None
    type: int | None = None
    expected_attach_type: int | None = None
    attach_function: str = ""
    attach_program_fd: int | None = None
    flags: int = 0
    ifindex: int = 0


@dataclass(frozen=True)
class Constant:
    """Bytes over a global variable: section, offset in it, value."""

    map: str
    offset: int
    value: bytes


Inspect = Callable[[dict[str, tuple[int, int]]], None]
"""Looks at (program type, expected attach type) by name; raises to refuse."""


@dataclass(frozen=True)
class LoadOptions:
    """Settings by full name, constants, verifier log."""

    maps: dict[str, MapSetting] = field(default_factory=dict)
    programs: dict[str, ProgramSetting] = field(default_factory=dict)
    constants: tuple[Constant, ...] = ()
    log_level: int = 0
    log_size: int = 0
    kernel_btf: bytes = b""
    pin_by_name: bool = True
    """Maps declared with LIBBPF_PIN_BY_NAME are pinned under `pin_root`."""
    pin_root: str = "/sys/fs/bpf"
    fill_struct_ops: bool = True
    """False: they stay empty, as when not all of their programs are loaded."""
    inspect: Inspect | None = None
    """Called before anything is loaded; may raise."""


@dataclass
class LoadedProgram:
    """A program in the kernel; the fd belongs to whoever holds this."""

    name: str
    fd: int
    id: int
    type: int
    expected_attach_type: int
    section: str = ""
    code: program_code.Code | None = None
    """Of XDP programs, which may be joined to a chain."""

    def __post_init__(self) -> None:
        if self.code is not None:
            program_code.remember(self.id, self.code)


@dataclass
class LoadedMap:
    """A map in the kernel; the fd belongs to whoever holds this."""

    name: str
    fd: int
    id: int
    type: int
    reused: bool = False
    pinned: str = ""
    """Path that this load pinned it under, outside the daemon's own tree."""
    record_type: str = ""
    """Name of the type of a ring's records, as the client said."""


@dataclass
class ProgramLog:
    """What the verifier wrote."""

    program: str
    log: str
    truncated: bool = False


@dataclass
class Loaded:
    """An object in the kernel."""

    programs: dict[str, LoadedProgram] = field(default_factory=dict)
    maps: dict[str, LoadedMap] = field(default_factory=dict)
    logs: list[ProgramLog] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    """Of struct_ops maps."""

    def unpin(self) -> None:
        """Removes the pins that the load made outside the daemon's own tree."""
        for loaded_map in self.maps.values():
            if loaded_map.pinned:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(loaded_map.pinned)

    def close(self) -> None:
        """Closes every fd in the reverse order of opening; what is pinned stays."""
        for program in reversed(self.programs.values()):
            program_code.forget(program.id)
            os.close(program.fd)
        for loaded_map in reversed(self.maps.values()):
            os.close(loaded_map.fd)
        while self.parts:
            self.parts.pop().close()
        self.programs.clear()
        self.maps.clear()


class Cancelled(Exception):
    """The caller has gone away; what was begun is undone."""


Cancel = Callable[[], bool]
"""True once the caller has gone away."""


def never() -> bool:
    """A `Cancel` for work that nobody cancels."""
    return False
