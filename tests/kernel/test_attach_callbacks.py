# SPDX-License-Identifier: Apache-2.0
"""What a program leaves to the kernel: work that runs later, exceptions, and programs that see
other programs run."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bpfd import attach, errors
from bpfd.attach.attachment import Program
from bpfd.kernel import elf_object, host, kernel_symbols, syscall
from bpfd.kernel.load_options import Constant, Loaded, LoadOptions, ProgramSetting
from bpfd.v1 import attach_pb2
from tests.kernel import clang
from tests.kernel.api import eventually
from tests.kernel.hooks_support import needs_root, open_fds

pytestmark = needs_root


@contextmanager
def loaded(name: str, *defines: str, options: LoadOptions | None = None) -> Iterator[Loaded]:
    """Skips where this kernel has no such thing."""
    if not os.path.exists(host.KERNEL_BTF):
        pytest.skip("needs kernel BTF, by which functions of the kernel are called")
    before = open_fds()
    try:
        found = elf_object.load(name, clang.compiled(name, *defines), options or LoadOptions())
    except errors.BpfdError as error:
        pytest.skip(f"{' '.join(defines)}: {error}")
    try:
        yield found
    finally:
        found.close()
    assert open_fds() <= before, "files are left open"


def variables(found: Loaded, count: int) -> tuple[int, ...]:
    """The first words of .bss."""
    value = syscall.map_lookup_elem(found.maps[".bss"].fd, struct.pack("=I", 0), 8 * count)
    return struct.unpack(f"={count}Q", value)


def run(found: Loaded, size: int = 64, name: str = "program") -> int:
    """The verdict on a packet of so many bytes."""
    return syscall.prog_test_run(found.programs[name].fd, bytes(size))[0]


def test_work_runs_later() -> None:
    symbols = b"".join(kernel_symbols.kallsyms("vmlinux")).split()
    define = "SET_WORK" if b"bpf_wq_set_callback" in symbols else "WORK"
    with loaded("callbacks", define) as found:
        assert run(found) == 0
        assert eventually(lambda: sum(variables(found, 2)) == 1)


def test_an_exception_ends_the_program() -> None:
    with loaded("callbacks", "THROW") as found:
        assert run(found, 64) == 77
        assert sum(variables(found, 2)) == 0
        assert run(found, 14) == 5
        assert sum(variables(found, 2)) == 2  # beyond


@pytest.mark.parametrize("function", ["program", "verdict"])
def test_a_program_sees_another_one_run(function: str) -> None:
    with loaded("freplace") as target:
        fd = target.programs["program"].fd
        setting = ProgramSetting(load=True, attach_function=function, attach_program_fd=fd)
        watched = Constant(".rodata.watched", 0, struct.pack("=I", os.getpid()))
        options = LoadOptions(programs={"aimed_entry": setting}, constants=(watched,))
        with loaded("aimed", options=options) as found:
            each = found.programs["aimed_entry"]
            entry = Program(
                each.fd, each.id, "aimed_entry", each.type, each.expected_attach_type
            )
            point = attach_pb2.AttachPoint(tracing=attach_pb2.Tracing())
            try:
                attachment = attach.attach(entry, point)
            except errors.NotSupported as error:
                pytest.skip(str(error))
            assert run(target) == 2
            assert variables(found, 1) == (1,)
            with pytest.raises(errors.KernelError, match="attached once"):
                attach.attach(entry, point)
            attachment.close()
            run(target)
            assert variables(found, 1) == (1,)
