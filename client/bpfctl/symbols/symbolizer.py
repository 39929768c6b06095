# SPDX-License-Identifier: Apache-2.0
"""Addresses of one target as frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from bpfctl.progress import Progress, silent
from bpfctl.symbols.frame import ANONYMOUS, JIT, KERNEL, UNKNOWN, Frame
from bpfctl.symbols.process import DELETED, Mapping, Process, snapshot

if TYPE_CHECKING:
    from bpfctl.symbols.images import Image, Images
    from bpfctl.symbols.kallsyms import Kallsyms
    from bpfctl.symbols.perf_map import PerfMap
    from bpfctl.symbols.store import Store
    from bpfctl.symbols.symcaches import Location, Symbols
    from bpfctl.target import Target

Frames = tuple[Frame, ...]


class Symbolizer:
    """Reads addresses of a target; a context manager. Each address is looked up once.

    Of a stack the first address is where the CPU was, the others are where calls return to:
    the call stands before. `user_stack` and `kernel_stack` know that; `user` and `kernel`
    take addresses of one sort, with `returns` of the other.
    """

    def __init__(self, target: Target, progress: Progress = silent) -> None:
        self._target = target
        self._progress = progress
        self._kernel: dict[tuple[int, bool], Frames] = {}
        # The process is kept, too: its id() must stay its own.
        self._user: dict[tuple[int, bool], tuple[Process, dict[int, Frames]]] = {}
        self._perf_maps: dict[tuple[int, int], PerfMap | None] = {}
        self._early: dict[tuple[int, int], PerfMap] = {}
        self._notes: dict[str, None] = {}

    def __enter__(self) -> Symbolizer:
        return self

    def __exit__(self, *_: object) -> None:
        self._kernel.clear()
        self._user.clear()

    @property
    def notes(self) -> list[str]:
        """For people: what could not be resolved, and why."""
        return list(self._notes)

    def kernel(self, addresses: Sequence[int], *, returns: bool = False) -> list[Frames]:
        """Per address its frames, what was inlined first."""
        memo = self._kernel
        for address in set(addresses):
            if (address, returns) not in memo:
                memo[address, returns] = self._of_kernel(address, int(returns))
        return [memo[address, returns] for address in addresses]

    def user(
        self, process: Process, addresses: Sequence[int], *, returns: bool = False
    ) -> list[Frames]:
        """Per address its frames, what was inlined first; as `process` mapped its files."""
        key = (id(process), returns)
        if key not in self._user:
            self._user[key] = (process, {})
            self._images.remember(process)
        memo = self._user[key][1]
        for address in set(addresses).difference(memo):
            memo[address] = self._of_process(process, address, int(returns))
        return [memo[address] for address in addresses]

    def kernel_stack(self, addresses: Sequence[int]) -> Frames:
        """Frames of one stack, the innermost first."""
        found = self.kernel(addresses[:1]) + self.kernel(addresses[1:], returns=True)
        return tuple(frame for frames in found for frame in frames)

    def user_stack(self, process: Process, addresses: Sequence[int]) -> Frames:
        """Frames of one stack, the innermost first."""
        found = self.user(process, addresses[:1])
        found += self.user(process, addresses[1:], returns=True)
        return tuple(frame for frames in found for frame in frames)

    def by_build_id(
        self, pairs: Iterable[tuple[bytes, int]], *, returns: bool = False
    ) -> list[Frames]:
        """Per (build id, offset in the file) its frames; of BPF_F_STACK_BUILD_ID's maps."""
        return [self._of_build_id(each.rstrip(b"\0"), at, int(returns)) for each, at in pairs]

    def snapshot(self, pids: Iterable[int] = ()) -> dict[int, Process]:
        """Processes of the target as they are now; see `process.snapshot`."""
        from bpfctl.symbols import perf_map

        found = snapshot(self._target, pids)
        for process in found.values():
            self._images.remember(process)
            # When it is asked for the process may have ended.
            if _has_jit(process) and (early := perf_map.fetch(self._target.files, process.pid)):
                self._early[process.pid, process.started_ns] = early
        return found

    @cached_property
    def kallsyms(self) -> Kallsyms:
        """Symbols of the kernel, fetched when they are first asked for."""
        from bpfctl.symbols import kernel

        found = kernel.fetch(self._target)
        if why := kernel.hidden_why(self._target, found):
            self._notes[why] = None
        return found

    @cached_property
    def _images(self) -> Images:
        from bpfctl.symbols.images import Images
        from bpfctl.symbols.symcaches import Symcaches
        from bpfctl.symbols.target_files import TargetFiles

        files = TargetFiles(self._target.files, self._progress)
        return Images(files, self._store, Symcaches())

    @cached_property
    def _store(self) -> Store:
        from bpfctl.symbols.store import Store

        return Store()

    @cached_property
    def _vmlinux(self) -> tuple[Symbols, int] | None:
        """Lines of the kernel, and how far it lies from where it was linked to; None: the
        store has no vmlinux of this build."""
        from bpfctl.symbols import kernel
        from bpfctl.symbols.symcaches import Symcaches

        found, why = kernel.vmlinux(
            self._store, Symcaches(), self._target.info().kernel_build_id.hex(), self.kallsyms
        )
        if why:
            self._notes[why] = None
        return found

    def _of_kernel(self, address: int, back: int) -> Frames:
        found = self.kallsyms.find(address - back)
        if found is None:
            return (Frame("", UNKNOWN, address=address, kind="kernel"),)
        if found.module == KERNEL and self._vmlinux is not None:
            symbols, slide = self._vmlinux
            if located := symbols.find(address - back - slide):
                return _frames(located, KERNEL, address, 0, back, "kernel")
        return (
            Frame(
                found.name,
                found.module,
                address=address,
                kind="kernel",
                offset=address - found.address,
            ),
        )

    def _of_process(self, process: Process, address: int, back: int) -> Frames:
        mapping = process.find(address - back)
        if mapping is None or _may_be_jit(mapping):
            # Code of a JIT compiler may be younger than the snapshot.
            perf_map = self._perf_map(process)
            made = perf_map.find(address - back) if perf_map is not None else None
            if made is not None:
                offset = address - made.start
                return (Frame(made.name, JIT, address=address, offset=offset),)
        if mapping is None:
            return (Frame("", UNKNOWN, address=address),)
        if not mapping.is_file:
            where = mapping.path or ANONYMOUS
            return (Frame("", where, address=address, offset=address - mapping.start),)
        image = self._images.of(process, mapping)
        self._note(image)
        path = mapping.path.removesuffix(DELETED)
        offset = address - mapping.start + mapping.file_offset
        return _frames(image.find(offset, back), path, address, offset, back)

    def _perf_map(self, process: Process) -> PerfMap | None:
        key = (process.pid, process.started_ns)
        if key not in self._perf_maps:
            from bpfctl.symbols import perf_map

            found = perf_map.fetch(self._target.files, process.pid)
            self._perf_maps[key] = found or self._early.get(key)
        return self._perf_maps[key]

    def _of_build_id(self, build_id: bytes, offset: int, back: int) -> Frames:
        image = self._images.by_build_id(build_id.hex())
        if image is None:
            return (Frame("", build_id.hex(), offset=offset),)
        self._note(image)
        return _frames(image.find(offset, back), image.path, 0, offset, back)

    def _note(self, image: Image) -> None:
        if image.note:
            self._notes[f"{image.path}: {image.note}"] = None


def _has_jit(process: Process) -> bool:
    return any(_may_be_jit(each) for each in process.mappings)


def _may_be_jit(mapping: Mapping) -> bool:
    """Whether a JIT compiler may have written what is there: anonymous memory and memory
    that has a name only to be mapped twice."""
    if not mapping.is_file:
        return mapping.path not in ("[vdso]", "[vsyscall]", "[uprobes]")
    return not mapping.build_id and mapping.path.startswith(
        ("/memfd:", "/dev/zero", "/dev/shm/", "/dev/ashmem/", "/SYSV", "/anon_hugepage")
    )


def _frames(
    found: tuple[Location, ...],
    module: str,
    address: int,
    offset: int,
    back: int,
    kind: str = "user",
) -> Frames:
    """Frames of the functions at an address; one without a name where none is known."""
    if not found:
        return (Frame("", module, address=address, offset=offset),)
    last = len(found) - 1
    return tuple(
        Frame(
            each.name,
            module,
            each.file,
            each.line,
            address,
            inlined=at != last,
            kind=kind,
            offset=each.offset + back if at == last else 0,
        )
        for at, each in enumerate(found)
    )
