# SPDX-License-Identifier: Apache-2.0
"""One line of advice for the usual causes of a refusal.

Patterns are matched against the verifier's last words; older kernels' words for the same
cause stand beside the newer ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class _Cause:
    """Words of the verifier, and what helps."""

    advice: str
    patterns: tuple[str, ...]

    def is_in(self, reasons: tuple[str, ...]) -> bool:
        return any(
            re.search(pattern, reason) for pattern in self.patterns for reason in reasons
        )


_CAUSES = (
    _Cause(
        "the pointer may be NULL: test it before it is used, as in `if (!value) return 0;`",
        (r"R\d+ invalid mem access '\w+_or_null'", r"arithmetic on \w+_or_null prohibited"),
    ),
    _Cause(
        "compare with data_end before the access, as in `if ((void *)(eth + 1) > data_end)"
        " return XDP_PASS;`, and again after every change of the packet",
        (r"invalid access to packet", r"math between pkt pointer"),
    ),
    _Cause(
        "bound the index or size before it is used, as in `if (index >= SIZE) return 0;` or"
        " `index &= SIZE - 1`, with an unsigned type",
        (
            r"invalid access to map value",
            r"unbounded memory access",
            r"(?:min value is negative|max value is outside|unbounded min value)",
        ),
    ),
    _Cause(
        "this is a number to the verifier, not a pointer it knows: read kernel memory with"
        " BPF_CORE_READ() or bpf_probe_read_kernel(), user memory with bpf_probe_read_user()",
        (r"invalid mem access '(?:scalar|inv)'",),
    ),
    _Cause(
        "give the loop a constant bound, or use bpf_for() (kernel 6.4) or bpf_loop() (5.17);"
        " kernels before 5.3 take no loops at all: `#pragma unroll`",
        (r"infinite loop detected", r"back-edge", r"sequence of \d+ jumps is too complex"),
    ),
    _Cause(
        "the verifier walks every path: bound loops lower, use bpf_loop() for long ones, move"
        " code into functions that are not static, or split with tail calls",
        (r"BPF program is too (?:large|complex)", r"too many (?:states|insn)"),
    ),
    _Cause(
        "a program and what it calls have 512 bytes of stack: keep large variables in a"
        " per-CPU array of one entry",
        (r"combined stack size", r"invalid (?:write to )?stack (?:R\d+ )?(?:off|type)"),
    ),
    _Cause(
        "the bytes were never written: set the whole variable to zero first, padding included,"
        " as in `__builtin_memset(&event, 0, sizeof(event))`",
        (r"invalid (?:indirect )?(?:read from|access to) stack",),
    ),
    _Cause(
        "this helper is not for programs of this type, or newer than the target's kernel;"
        " `bpfctl target info` lists what it has",
        (
            r"program of this type cannot use helper",
            r"unknown func bpf_",
            r"helper call is not allowed",
            r"calling kernel function \S+ is not allowed",
        ),
    ),
    _Cause(
        'the helper is for GPL programs: `char LICENSE[] SEC("license") = "GPL";`',
        (r"GPL-restricted", r"from non-GPL"),
    ),
    _Cause(
        "give it back on every path: bpf_ringbuf_submit() or bpf_ringbuf_discard(),"
        " bpf_sk_release(), bpf_task_release()",
        (r"Unreleased reference", r"would lead to reference leak"),
    ),
    _Cause(
        "the program must return one of the values of its hook",
        (r"At program exit the register R0",),
    ),
    _Cause(
        "the context has no such field for this type of program, or not on this kernel",
        (r"invalid bpf_context access",),
    ),
    _Cause(
        "read the context at a constant offset: copy the field into a local variable first",
        (r"dereference of modified ctx",),
    ),
    _Cause("a variable is used that was not set on every path", (r"!read_ok",)),
    _Cause(
        "a kernel address would reach user space: do not store or return pointers",
        (r"leaks addr",),
    ),
    _Cause(
        "the instruction is newer than the target's kernel: build with --cpu v2",
        (r"unknown opcode", r"BPF_LDX uses reserved fields", r"BPF_ATOMIC uses invalid"),
    ),
)

_CORE = re.compile(
    r"failed to resolve CO-RE relocation (?:<(\w+)> )?(?:\[\d+\] )?(.+?)(?: \((\S+) @ .*\))?$"
)


_NO_KERNEL_BTF = "btf_vmlinux is malformed"
_CONTEXT_UNKNOWN = (
    "the target's kernel has no BTF, and so does not know a context among the parameters of a"
    " global function: make that function static there (#ifdef BPFD_KERNEL_WITHOUT_BTF)"
)


def advise(reasons: tuple[str, ...], log: str = "") -> str:
    """What may help, by the verifier's last words and its whole log; empty: not known."""
    if _NO_KERNEL_BTF in log and any("mem_or_null" in reason for reason in reasons):
        return _CONTEXT_UNKNOWN
    return next((cause.advice for cause in _CAUSES if cause.is_in(reasons)), "")


def is_core_failure(text: str) -> bool:
    """Whether a CO-RE relocation failed, whose instruction libbpf makes invalid.

    0xbad2310 is what it writes there (195896080); newer ones put words into the log.
    """
    return "195896080" in text or "CO-RE relocation" in text


def core_target(reasons: tuple[str, ...]) -> str:
    """What is missing by libbpf's words: "struct task_struct.pid"; empty: not said."""
    for reason in reasons:
        if match := _CORE.search(reason):
            return match[2].strip()
    return ""


def core_advice(what: str) -> str:
    """Advice for a field, type or enumerator that the target's kernel has not."""
    test = "bpf_core_type_exists" if what.startswith("type ") else "bpf_core_field_exists"
    if what.startswith("enumerator "):
        test = "bpf_core_enum_value_exists"
    return f"guard the access with {test}(), or use the name that it has on the target"
