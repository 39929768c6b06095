# SPDX-License-Identifier: Apache-2.0
"""Stacks of a real program without frame pointers, by tables of its own and its libraries'."""

from __future__ import annotations

import bisect
import contextlib
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import bpfctl
import pytest
from bpfctl.build import build
from bpfctl.facts import facts_of
from bpfctl.objects import LoadedObject, LoadSettings
from bpfctl.sessions import Session
from bpfctl.symbols.process import Process, snapshot
from bpfctl.target import Target
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from bpfd.v1 import attach_pb2
from tests.kernel.clang import PROGRAMS, clang
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import needs_root

np = pytest.importorskip("numpy")
from bpfctl.unwind.tables import Unwinder  # noqa: E402

pytestmark = [*needs_root, pytest.mark.skipif(not clang(), reason="needs clang")]

SOURCES = PROGRAMS / "unwinding"
SAMPLES = SOURCES / "samples.bpf.c"

COMPLETE, TOO_DEEP, UNKNOWN_PROCESS = 0, 1, 2
"""enum unwind_end of bpf/include/bpfd/unwind.h."""

INNERMOST = ["leaf", "of_unknown_size", "compare"]
ENOUGH = 200
"""Samples."""


@pytest.fixture(scope="module")
def burner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unwind") / "burner"
    flags = ["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls"]
    subprocess.run([clang(), *flags, "-o", path, SOURCES / "burner.c"], check=True)
    return path


@dataclass
class Watched:
    """A burning process and an object that samples it."""

    target: Target
    session: Session
    loaded: LoadedObject
    pid: int
    binary: Path

    def process(self) -> Process:
        return snapshot(self.target, [self.pid])[self.pid]

    def unwinder(self) -> Unwinder:
        return Unwinder(self.target, self.session, self.loaded, lambda _, each: Path(each.path))

    def stacks(self) -> list[tuple[int, list[str]]]:
        """How each walk ended, and functions of the program itself, the innermost first."""
        read = self.target.events(self.loaded.map("stacks").ref)
        point = attach_pb2.PerfEvent(type=1, config=0, frequency=499, pid=self.pid)
        self.target.attach(
            self.loaded.program("sampled"),
            attach_pb2.AttachPoint(perf_event=point),
            session=self.session,
        )
        names = self._functions()
        found: list[tuple[int, list[str]]] = []
        with read:
            for batch in read:
                for record in np.frombuffer(batch.data, np.uint8).reshape(batch.count, -1):
                    count, end = record[8:16].view("<u4")
                    addresses = record[16 : 16 + 8 * int(count)].view("<u8")
                    found.append((int(end), [names(int(each)) for each in addresses]))
                if len(found) >= ENOUGH:
                    return found
        raise AssertionError("the stream ended")

    def _functions(self) -> Callable[[int], str]:
        mapping = next(
            each for each in self.process().mappings if each.path == str(self.binary)
        )
        with self.binary.open("rb") as file:
            elf = ELFFile(file)
            segment = next(each for each in elf.iter_segments("PT_LOAD") if each["p_flags"] & 1)
            table = elf.get_section_by_name(".symtab")
            assert isinstance(table, SymbolTableSection)
            symbols = sorted(
                (each["st_value"], each["st_value"] + each["st_size"], each.name)
                for each in table.iter_symbols()
                if each["st_info"]["type"] == "STT_FUNC"
            )
        bias = mapping.start - (mapping.file_offset - segment["p_offset"] + segment["p_vaddr"])

        def name(address: int) -> str:
            index = bisect.bisect(symbols, (address - bias, 1 << 64)) - 1
            start, end, found = symbols[index]
            return found if start < address - bias <= end and mapping.start <= address else ""

        return name


@pytest.fixture
def watched(
    daemon: RunningDaemon, burner: Path, request: pytest.FixtureRequest
) -> Iterator[Watched]:
    depth = getattr(request, "param", 10)
    with contextlib.ExitStack() as undo:
        process = subprocess.Popen([burner, str(depth)])
        undo.callback(process.wait)
        undo.callback(process.kill)
        target = undo.enter_context(bpfctl.connect(f"unix:{daemon.socket}"))
        session = undo.enter_context(target.session("test"))
        settings = LoadSettings(constants={"watched_pid": process.pid})
        built = build(SAMPLES, facts_of(target), target.btf.kernel_bytes)
        loaded = target.load(built.object, "unwind", session=session, settings=settings)
        yield Watched(target, session, loaded, process.pid, burner)


def test_stacks_are_whole(watched: Watched) -> None:
    unwinder = watched.unwinder()
    unwinder.add([watched.process()])
    assert not unwinder.missed
    found = watched.stacks()
    assert Counter(end for end, _ in found) == {COMPLETE: len(found)}
    own = [[each for each in names if each] for _, names in found]
    assert all(names[-1] == "_start" and "main" in names for names in own)
    by_call = [names for names in own if "handler" not in names and names[:3] == INNERMOST]
    by_signal = [names for names in own if "handler" in names and names[:3] == INNERMOST]
    assert {tuple(each) for each in by_call} == {(*INNERMOST, *["deep"] * 11, "main", "_start")}
    assert {tuple(each) for each in by_signal} == {
        (*INNERMOST, *["deep"] * 4, "handler", "main", "_start")
    }


@pytest.mark.parametrize("watched", [200], indirect=True)
def test_a_stack_that_is_too_deep_is_cut(watched: Watched) -> None:
    unwinder = watched.unwinder()
    unwinder.add([watched.process()])
    found = watched.stacks()
    cut = [names for end, names in found if end == TOO_DEEP]
    assert cut
    assert {len(names) for names in cut} == {127}
    assert all(end == TOO_DEEP or names[-1] == "_start" for end, names in found)


def test_a_process_without_tables_is_walked_by_frame_pointers(watched: Watched) -> None:
    found = watched.stacks()
    assert {end for end, _ in found} == {UNKNOWN_PROCESS}
    assert all(names for _, names in found)
    assert not any("main" in names for _, names in found)


def test_what_ends_is_forgotten(watched: Watched) -> None:
    unwinder = watched.unwinder()
    unwinder.add([watched.process()])
    entries = watched.loaded.map("unwind_processes")
    assert [int(key) for keys, _ in entries.arrays() for key in keys] == [watched.pid]
    unwinder.remove([watched.pid, watched.pid + 1])
    assert not sum(len(keys) for keys, _ in entries.arrays())
