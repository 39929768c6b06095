# SPDX-License-Identifier: Apache-2.0
"""What libbpf and the verifier say, and the kind of error that comes of it."""

from __future__ import annotations

import errno

from bpfd.errors import (
    InvalidArgument,
    KernelError,
    LimitExceeded,
    NotSupported,
    PermissionMissing,
    VerifierRejected,
)
from bpfd.kernel import rejection
from bpfd.kernel.constants import ProgType

LOG = """\
0: R1=ctx() R10=fp0
; char *data = (char *)(long)ctx->data; @ objects.bpf.c:76
0: (61) r1 = *(u32 *)(r1 +0)          ; R1_w=pkt(r=0)
; return data[100]; @ objects.bpf.c:78
1: (71) r0 = *(u8 *)(r1 +100)
invalid access to packet, off=100 size=1, R1(id=0,off=100,r=0)
R1 offset is outside of the packet
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""
TYPES = {"bad": (int(ProgType.XDP), "xdp"), "enter": (int(ProgType.TRACING), "fentry/x")}


def test_a_refused_program() -> None:
    lines = ["libbpf: prog 'bad': BPF program load failed: Permission denied"]
    assert rejection.failed_program(lines) == "bad"
    error = rejection.explain(errno.EACCES, lines, "bad", LOG, TYPES)
    assert isinstance(error, VerifierRejected)
    assert (error.program, error.instruction, error.errno) == ("bad", 1, errno.EACCES)
    assert str(error).endswith("R1 offset is outside of the packet")


def test_a_gated_program_type() -> None:
    error = rejection.explain(errno.EPERM, [], "enter", "", TYPES)
    assert isinstance(error, NotSupported)
    assert "fentry" in error.feature


def test_permission() -> None:
    assert isinstance(rejection.explain(errno.EPERM, [], "bad", "", TYPES), PermissionMissing)
    assert isinstance(rejection.explain(errno.EPERM, [], "", "", TYPES), PermissionMissing)


def test_too_large_and_interrupted() -> None:
    assert isinstance(rejection.explain(errno.E2BIG, [], "bad", "", TYPES), LimitExceeded)
    assert isinstance(rejection.explain(errno.EAGAIN, [], "bad", "", TYPES), KernelError)


def test_a_log_that_is_full() -> None:
    found = rejection.program_refused(errno.ENOSPC, "p", "0: (b7) r0 = 0\n" * 9, 1)
    assert isinstance(found, LimitExceeded)
    assert "log of program p" in found.what
    assert "lower log level" in found.hint


def test_a_refused_map() -> None:
    lines = ["libbpf: map 'flows': failed to create: Invalid argument(-22)"]
    error = rejection.explain(errno.EINVAL, lines, "", "", TYPES)
    assert isinstance(error, InvalidArgument)
    assert "flows" in error.field
    lines = ["libbpf: map 'flows': failed to create: Argument list too long(-7)"]
    error = rejection.explain(errno.E2BIG, lines, "", "", TYPES)
    assert isinstance(error, KernelError)
    assert "max_entries" in error.hint


def test_an_unknown_section_goes_before_the_failed_load() -> None:
    lines = [
        "libbpf: prog 'f': missing BPF prog type, check ELF section name 'nope'",
        "libbpf: prog 'f': failed to load: -22",
    ]
    error = rejection.explain(errno.EINVAL, lines, rejection.failed_program(lines), "", TYPES)
    assert isinstance(error, InvalidArgument)
    assert "'nope'" in error.why


def test_no_kernel_btf() -> None:
    lines = ["libbpf: Error loading vmlinux BTF: -3", "libbpf: failed to find valid kernel BTF"]
    error = rejection.explain(errno.ESRCH, lines, "", "", {"count": (6, "xdp")})
    assert isinstance(error, NotSupported)
    assert "BTF" in error.feature
    assert "sent along" in error.needs
    error = rejection.explain(
        errno.ESRCH, lines, "", "", {"count": (6, "xdp")}, kernel_btf=True
    )
    assert isinstance(error, NotSupported)
    assert "__ksym" in error.feature


def test_no_kernel_btf_for_a_program_that_the_kernel_attaches_by_it() -> None:
    lines = ["libbpf: Error loading vmlinux BTF: -3"]
    lines.append("libbpf: kernel BTF is missing, failed to find valid kernel BTF")
    types = {"count": (6, "xdp"), "opened": (26, "fentry/do_filp_open")}
    error = rejection.explain(errno.ESRCH, lines, "", "", types)
    assert isinstance(error, NotSupported)
    assert "opened (fentry/do_filp_open)" in error.feature
    assert "--no-program opened" in error.needs
    assert "kprobe" in error.needs


def test_what_cannot_be_opened() -> None:
    lines = ["libbpf: elf: legacy map definitions in 'maps' section are not supported"]
    error = rejection.open_failed(errno.EOPNOTSUPP, lines)
    assert isinstance(error, InvalidArgument)
    assert '".maps"' in error.why
    assert "elf: elf" not in str(error)
    lines = ["libbpf: BTF is required, but is missing or corrupted."]
    assert "compile it with -g" in str(rejection.open_failed(errno.ENOENT, lines))
    assert isinstance(rejection.open_failed(errno.ENOMEM, []), KernelError)


def test_statistics_alone_say_nothing() -> None:
    assert not rejection.said_something("processed 2 insns (limit 1000000)\n\n")
    assert rejection.last_instruction("nothing") == -1
