# SPDX-License-Identifier: Apache-2.0
"""ksyscall: a kprobe on the function that serves a system call, whatever it is called."""

from __future__ import annotations

import platform

from bpfd import errors
from bpfd.attach import kernel_function, kprobe
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.failure import near
from bpfd.attach.perf_link import PERF_LINK
from bpfd.kernel import kernel_symbols
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("ksyscall", {ProgType.KPROBE}, "CAP_PERFMON")

_WRAPPERS = {
    "x86_64": "__x64_sys_",
    "i": "__ia32_sys_",
    "aarch64": "__arm64_sys_",
    "riscv": "__riscv_sys_",
    "s390x": "__s390x_sys_",
    "ppc64": "sys_",
}
"""By the start of the machine's name: CONFIG_ARCH_HAS_SYSCALL_WRAPPER and the macros of
arch/*/include/asm/syscall_wrapper.h. Kernels without wrappers have plain "sys_"."""


def attach(program: Program, point: attach_pb2.Ksyscall) -> Attachment:
    """As `kprobe.attach`; raises NotFound also for a call that this kernel does not have."""
    HOOK.check(program)
    kprobe.check_kernel()
    kernel_function.check_name(point.syscall, "ksyscall.syscall")
    function = _function(point.syscall)
    link, method = kprobe.open_link(program, function, 0, point.ret, point.cookie)
    return Attachment(
        HOOK,
        [link],
        method,
        again=lambda other: attach(other, point),
        pinnable=method == PERF_LINK,
    )


def prefixes(machine: str) -> list[str]:
    """What may stand before a system call's name, most specific first. Pure."""
    wrapper = next((value for key, value in _WRAPPERS.items() if machine.startswith(key)), "")
    return [*([wrapper] if wrapper else []), "__se_sys_", "sys_", "__sys_"]


def _function(syscall: str) -> str:
    found = {name for name, _ in kernel_symbols.functions(f"*sys_{syscall}")}
    for prefix in prefixes(platform.machine()):
        if f"{prefix}{syscall}" in found:
            return f"{prefix}{syscall}"
    if not found:
        known = [name for name, _ in kernel_symbols.functions("*sys_*")]
        calls = {name.rpartition("sys_")[2] for name in known}
        raise errors.NotFound("system call", syscall, near(syscall, calls), "without prefix")
    raise kernel_function.missing(f"{prefixes(platform.machine())[0]}{syscall}")
