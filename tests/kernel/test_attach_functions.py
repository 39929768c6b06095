# SPDX-License-Identifier: Apache-2.0
"""kprobe, ksyscall, kprobe_multi, fentry, fexit, fmod_ret and lsm: this process changes a
file's mode or its own priority, and a program on the kernel's function sees or forbids it."""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpfd import attach, errors
from bpfd.attach import kprobe as kprobe_hook
from bpfd.attach import ksyscall
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import OVERLAP, Attachment, Program
from bpfd.features import PROBES
from bpfd.kernel import elf_object, info, kernel_symbols, syscall
from bpfd.kernel.load_options import Loaded, LoadOptions, ProgramSetting
from bpfd.v1 import attach_pb2
from tests.kernel import clang
from tests.kernel.hooks_support import needs_root, open_fds

pytestmark = needs_root

COOKIE = 0x1122334455667788
FUNCTION = "notify_change"
"""Runs once when a file's mode is changed; exported, so that it is never inlined away."""

NEEDS = {
    "KPROBE": "kprobe",
    "KPROBE_MULTI": "kprobe multi link",
    "FENTRY": "fentry",
    "FEXIT": "fexit",
    "FMOD_RET": "fentry",
    "LSM": "LSM",
    "KPROBE_SESSION": "kprobe multi link",
    "FSESSION": "fentry",
    "FENTRY_SLEEPY": "fentry",
    "LSM_SLEEPY": "LSM",
}
"""The probed feature by the define of the program."""


class Counted:
    """One loaded program that counts this process, and what may take its place."""

    def __init__(self, loaded: Loaded, maps: dict[str, int]) -> None:
        self._maps = maps
        self._programs = {
            name: Program(each.fd, each.id, name, each.type, each.expected_attach_type)
            for name, each in loaded.programs.items()
        }
        self.program = self._programs["program"]
        key, pid = struct.pack("=I", 0), struct.pack("=I", os.getpid())
        syscall.map_update_elem(maps["only"], key, pid)

    @property
    def other(self) -> Program:
        return self._programs["other"]

    def _count(self, index: int) -> int:
        value = syscall.map_lookup_elem(self._maps["counts"], struct.pack("=I", index), 8)
        return int(struct.unpack("=Q", value)[0])

    @property
    def runs(self) -> int:
        return self._count(0)

    @property
    def cookie(self) -> int:
        return self._count(1)


@contextmanager
def loaded(kind: str, options: LoadOptions | None = None) -> Iterator[Counted]:
    """The program of this kind; skips with the kernel's reason where it has none."""
    probe = PROBES[NEEDS[kind]]
    try:
        probe.run()
    except OSError as error:
        pytest.skip(f"this kernel has no {NEEDS[kind]}: {os.strerror(error.errno or 0)}")
    elf = clang.compiled("functions", kind)
    before = open_fds()
    try:
        found = elf_object.load("functions", elf, options or LoadOptions())
    except errors.NotSupported as error:
        pytest.skip(str(error))
    except errors.InvalidArgument as error:
        if "no BTF of it" not in str(error):
            raise
        pytest.skip(str(error))
    except errors.VerifierRejected as error:
        if kind != "LSM_SLEEPY" or "is not sleepable" not in error.log:
            raise
        pytest.skip("this kernel lets no program sleep there")
    try:
        yield Counted(found, {name: each.fd for name, each in found.maps.items()})
    finally:
        found.close()
    assert open_fds() <= before, "files are left open"


def attached(counted: Counted, point: attach_pb2.AttachPoint) -> Attachment:
    """Skips where the kernel loads the program and has no way to attach it."""
    try:
        return attach.attach(counted.program, point)
    except errors.NotSupported as error:
        pytest.skip(str(error))


def kprobe(ret: bool = False, **where: object) -> attach_pb2.AttachPoint:
    point = attach_pb2.AttachPoint(kprobe=attach_pb2.Kprobe(ret=ret, cookie=COOKIE))
    for name, value in where.items():
        setattr(point.kprobe, name, value)
    return point


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch()
    return path


@pytest.mark.parametrize("ret", [False, True], ids=["kprobe", "kretprobe"])
def test_a_kprobe_sees_the_function_run(file: Path, ret: bool) -> None:
    with loaded("KPROBE") as counted:
        attachment = attached(counted, kprobe(ret, function=FUNCTION))
        file.chmod(0o600)
        assert (counted.runs, counted.cookie) == (1, COOKIE)
        file.chmod(0o640)
        assert counted.runs == 2
        attachment.close()
        file.chmod(0o600)
        assert counted.runs == 2


def test_a_kprobe_by_address(file: Path) -> None:
    with loaded("KPROBE") as counted:
        lines = b"".join(kernel_symbols.kallsyms("vmlinux")).splitlines()
        address = next(
            int(each.split()[0], 16) for each in lines if each.endswith(b" notify_change")
        )
        attachment = attached(counted, kprobe(address=address))
        file.chmod(0o600)
        assert counted.runs == 1
        attachment.close()


def test_a_kprobe_moves_to_another_program_and_is_adopted(file: Path) -> None:
    with loaded("KPROBE") as counted:
        point = kprobe(function=FUNCTION)
        attachment = attached(counted, point)
        assert attachment.update(counted.other) == OVERLAP
        file.chmod(0o600)
        assert counted.runs == 0
        again = adopt([os.dup(fd) for fd in attachment.fds], point)
        attachment.release()
        assert again.hook is kprobe_hook.HOOK
        assert again.update(counted.program) == OVERLAP
        file.chmod(0o640)
        assert counted.runs == 1
        again.close()


def test_what_the_kernel_tells_of_a_kprobe() -> None:
    with loaded("KPROBE") as counted:
        attachment = attached(counted, kprobe(True, function=FUNCTION))
        if not info.link_info(attachment.fds[0]).perf_type:
            attachment.close()
            pytest.skip("this kernel tells nothing of perf links (since 6.6)")
        found = find_point(attachment.fds)
        attachment.close()
        assert found.kprobe.ret
        assert found.kprobe.function == FUNCTION


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("notify_chang", "notify_change"),
        ("no_such_function_at_all", "inlined, or in a module"),
    ],
)
def test_a_function_that_is_not_there(name: str, said: str) -> None:
    with loaded("KPROBE") as counted, pytest.raises(errors.NotFound, match=said):
        attach.attach(counted.program, kprobe(function=name))


@pytest.mark.parametrize(
    ("ret", "where", "said"),
    [
        (False, {}, "function or address must be given"),
        (False, {"function": "two words"}, "is not a name"),
        (True, {"function": FUNCTION, "offset": 4}, "at the function's start"),
    ],
)
def test_bad_places(ret: bool, where: dict[str, object], said: str) -> None:
    with loaded("KPROBE") as counted, pytest.raises(errors.InvalidArgument, match=said):
        attach.attach(counted.program, kprobe(ret, **where))


def test_code_that_is_protected_from_probes() -> None:
    with loaded("KPROBE") as counted:
        with pytest.raises(errors.KernelError, match="protects this code") as caught:
            attached(counted, kprobe(function="kprobe_dispatcher"))
        assert caught.value.errno in (22,)


@pytest.mark.parametrize("ret", [False, True])
def test_a_system_call_by_its_plain_name(ret: bool) -> None:
    with loaded("KPROBE") as counted:
        wanted = attach_pb2.Ksyscall(syscall="getpriority", ret=ret, cookie=COOKIE)
        attachment = attached(counted, attach_pb2.AttachPoint(ksyscall=wanted))
        os.getpriority(os.PRIO_PROCESS, 0)
        assert (counted.runs, counted.cookie) == (1, COOKIE)
        attachment.close()
        os.getpriority(os.PRIO_PROCESS, 0)
        assert counted.runs == 1


def test_a_system_call_that_is_not_there() -> None:
    with loaded("KPROBE") as counted:
        wanted = attach_pb2.Ksyscall(syscall="getpriorit")
        with pytest.raises(errors.NotFound) as caught:
            attach.attach(counted.program, attach_pb2.AttachPoint(ksyscall=wanted))
        assert "getpriority" in caught.value.near


def multi(**where: object) -> attach_pb2.AttachPoint:
    return attach_pb2.AttachPoint(kprobe_multi=attach_pb2.KprobeMulti(**where))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "where",
    [
        {"functions": [FUNCTION, "vfs_truncate"]},
        {"pattern": "notify_chang*"},
        {"functions": ["vfs_truncate", FUNCTION], "cookies": [7, COOKIE]},
        {"functions": [FUNCTION], "ret": True},
    ],
    ids=["names", "pattern", "cookies", "return"],
)
def test_many_functions_with_one_link(file: Path, where: dict[str, object]) -> None:
    with loaded("KPROBE_MULTI") as counted:
        attachment = attached(counted, multi(**where))
        file.chmod(0o600)
        assert counted.runs == 1
        assert counted.cookie == (COOKIE if "cookies" in where else 0)
        attachment.close()
        file.chmod(0o640)
        assert counted.runs == 1


def test_a_pattern_that_matches_nothing() -> None:
    with loaded("KPROBE_MULTI") as counted:
        with pytest.raises(errors.NotFound, match="no function matches"):
            attach.attach(counted.program, multi(pattern="notify_chang_*"))
        with pytest.raises(errors.NotFound, match="notify_chang"):
            attach.attach(counted.program, multi(functions=[FUNCTION, "notify_chang"]))
        with pytest.raises(errors.InvalidArgument, match="3 for 1 functions"):
            attach.attach(counted.program, multi(functions=[FUNCTION], cookies=[1, 2, 3]))
        with pytest.raises(errors.InvalidArgument, match="give one of"):
            attach.attach(counted.program, multi(functions=[FUNCTION], pattern="x*"))


@pytest.mark.parametrize("kind", ["KPROBE_SESSION", "FSESSION"])
def test_one_program_sees_entry_and_return(file: Path, kind: str) -> None:
    if kind == "FSESSION":
        point = attach_pb2.AttachPoint(tracing=attach_pb2.Tracing())
    else:
        point = multi(functions=[FUNCTION], session=True)
    with loaded(kind) as counted:
        attachment = attached(counted, point)
        file.chmod(0o600)
        assert counted.runs == 2
        attachment.close()
        file.chmod(0o640)
        assert counted.runs == 2


def test_a_security_hook_that_may_sleep(file: Path) -> None:
    with loaded("LSM_SLEEPY") as counted:
        attachment = attached(counted, attach_pb2.AttachPoint(lsm=attach_pb2.Lsm()))
        with pytest.raises(PermissionError):
            file.chmod(0o600)
        assert counted.runs == 1
        attachment.close()
        file.chmod(0o640)
        assert counted.runs == 1


def test_a_trampoline_that_may_sleep() -> None:
    """On system calls, which the kernel lets errors be injected into."""
    function = f"{ksyscall.prefixes(platform.machine())[0]}getpriority"
    setting = ProgramSetting(attach_function=function)
    try:
        with loaded("FENTRY_SLEEPY", LoadOptions(programs={"program": setting})) as counted:
            attachment = attached(counted, attach_pb2.AttachPoint(tracing=attach_pb2.Tracing()))
            os.getpriority(os.PRIO_PROCESS, 0)
            assert counted.runs == 1
            attachment.close()
    except errors.VerifierRejected as error:
        if "is not sleepable" not in error.log:
            raise
        pytest.skip("this kernel injects no errors into functions")


@pytest.mark.parametrize("kind", ["FENTRY", "FEXIT"])
@pytest.mark.parametrize("cookie", [0, COOKIE])
def test_a_trampoline_sees_the_function_run(file: Path, kind: str, cookie: int) -> None:
    with loaded(kind) as counted:
        point = attach_pb2.AttachPoint(tracing=attach_pb2.Tracing(cookie=cookie))
        attachment = attached(counted, point)
        file.chmod(0o600)
        assert (counted.runs, counted.cookie) == (1, cookie)
        attachment.close()
        file.chmod(0o640)
        assert counted.runs == 1


def test_a_trampoline_keeps_its_function_when_the_program_is_replaced() -> None:
    with loaded("FENTRY") as counted:
        point = attach_pb2.AttachPoint(tracing=attach_pb2.Tracing())
        attachment = attached(counted, point)
        with pytest.raises(errors.InvalidArgument, match="loaded for something else"):
            attachment.update(counted.other)
        assert find_point(attachment.fds).WhichOneof("point") == "tracing"
        attachment.close()


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("FMOD_RET", attach_pb2.AttachPoint(tracing=attach_pb2.Tracing())),
        ("LSM", attach_pb2.AttachPoint(lsm=attach_pb2.Lsm())),
    ],
)
def test_what_a_program_forbids_fails(kind: str, point: attach_pb2.AttachPoint) -> None:
    with loaded(kind) as counted:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, own)
        attachment = attached(counted, point)
        with pytest.raises(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, own)
        assert counted.runs == 1
        attachment.close()
        os.setpriority(os.PRIO_PROCESS, 0, own)
        assert counted.runs == 1


def test_programs_of_other_kinds_are_refused() -> None:
    program = Program(-1, 0, "p", 6)
    for kind in ("kprobe", "kprobe_multi", "ksyscall", "tracing", "lsm"):
        point = attach_pb2.AttachPoint()
        getattr(point, kind).SetInParent()
        with pytest.raises(errors.InvalidArgument, match="is a program of type xdp"):
            attach.attach(program, point)
