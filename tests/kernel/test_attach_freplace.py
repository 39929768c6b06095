# SPDX-License-Identifier: Apache-2.0
"""freplace: the verdict of an XDP program comes from a function that is replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bpfd import attach, errors
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import Program
from bpfd.kernel import elf_object, host, syscall
from bpfd.kernel.load_options import Loaded, LoadOptions, ProgramSetting
from bpfd.v1 import attach_pb2, common_pb2
from tests.kernel import clang
from tests.kernel.hooks_support import needs_root, open_fds

pytestmark = needs_root

XDP_DROP, XDP_PASS, XDP_TX = 1, 2, 3


@dataclass
class Loads:
    """The XDP program, and those that may stand in the place of its function."""

    target: Loaded
    extension: Loaded

    def __getitem__(self, name: str) -> Program:
        each = self.extension.programs[name]
        return Program(each.fd, each.id, name, each.type, each.expected_attach_type)

    def verdict(self) -> int:
        return syscall.prog_test_run(self.target.programs["program"].fd, bytes(64))[0]

    def point(self, function: str = "verdict") -> attach_pb2.AttachPoint:
        where = common_pb2.ProgramRef(id=self.target.programs["program"].id)
        return attach_pb2.AttachPoint(
            freplace=attach_pb2.Freplace(target=where, function=function)
        )


@pytest.fixture
def loads() -> Iterator[Loads]:
    """Skips with the kernel's reason where it refuses extensions."""
    if not os.path.exists(host.KERNEL_BTF):
        pytest.skip(
            "needs kernel BTF: without it no function of a program may take its context"
        )
    before = open_fds()
    target = elf_object.load("target", clang.compiled("freplace"), LoadOptions())
    fd = target.programs["program"].fd
    setting = ProgramSetting(attach_function="verdict", attach_program_fd=fd)
    options = LoadOptions(programs={"drops": setting, "sends_back": setting})
    try:
        extension = elf_object.load("ext", clang.compiled("freplace", "EXTENSION"), options)
    except errors.BpfdError as error:
        target.close()
        pytest.skip(f"this kernel refuses extensions: {error}")
    yield Loads(target, extension)
    extension.close()
    target.close()
    assert open_fds() <= before, "files are left open"


def attached(loads: Loads, name: str, point: attach_pb2.AttachPoint) -> attach.Attachment:
    try:
        return attach.attach(loads[name], point)
    except errors.NotSupported as error:
        pytest.skip(str(error))


NOWHERE = attach_pb2.AttachPoint(freplace=attach_pb2.Freplace())


def test_a_function_is_replaced(loads: Loads) -> None:
    assert loads.verdict() == XDP_PASS
    attachment = attached(loads, "drops", loads.point())
    assert loads.verdict() == XDP_DROP
    with pytest.raises(errors.AttachBusy, match="verdict"):
        attach.attach(loads["sends_back"], loads.point())
    attachment.close()
    assert loads.verdict() == XDP_PASS


def test_where_it_was_loaded_for(loads: Loads) -> None:
    attachment = attached(loads, "sends_back", NOWHERE)
    assert loads.verdict() == XDP_TX
    with pytest.raises(errors.NotSupported, match="exchanging"):
        attachment.update(loads["drops"])
    attachment.close()


def test_a_function_that_does_not_fit(loads: Loads) -> None:
    with pytest.raises(errors.KernelError, match="different parameters"):
        attach.attach(loads["drops"], loads.point("other_verdict"))
    with pytest.raises(errors.NotFound, match="no such global function"):
        attach.attach(loads["drops"], loads.point("none"))


def test_a_pinned_link_is_adopted(loads: Loads) -> None:
    first = attached(loads, "drops", loads.point())
    pin = f"/sys/fs/bpf/fr-{os.getpid()}"
    syscall.obj_pin(first.fds[0], pin)
    try:
        first.release()
        adopted = adopt([syscall.obj_get(pin)])
    finally:
        os.unlink(pin)
    assert adopted.hook.name == "freplace"
    assert find_point(adopted.fds) == loads.point()
    assert loads.verdict() == XDP_DROP
    adopted.close()


def test_half_a_place() -> None:
    program = Program(-1, 0, "p", 28)
    for half in (
        attach_pb2.Freplace(function="verdict"),
        attach_pb2.Freplace(target=common_pb2.ProgramRef(id=1)),
    ):
        with pytest.raises(errors.InvalidArgument, match="go together"):
            attach.attach(program, attach_pb2.AttachPoint(freplace=half))
