# SPDX-License-Identifier: Apache-2.0
"""The compiler of BPF in the kernel (Documentation/admin-guide/sysctl/net.rst)."""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl.doctor.check import Check
from bpfctl.doctor.facts import NET, Facts

GROUP = "JIT"

SMALL_LIMIT = 4 << 20
"""Bytes of machine code; a program of 50,000 instructions takes about 300 KiB."""


def checks(facts: Facts) -> Iterator[Check]:
    """Switched on, hardened, limited, named."""
    enable = facts.number(f"{NET}bpf_jit_enable")
    always = facts.options.get("CONFIG_BPF_JIT_ALWAYS_ON") == "y"
    yield _enabled(enable, always)
    if enable is None:
        return
    harden = facts.number(f"{NET}bpf_jit_harden")
    if harden == 2:
        yield Check(
            GROUP,
            "hardening",
            "warning",
            "constants of everybody's programs are blinded (bpf_jit_harden 2): their code is "
            "larger and slower",
            "sysctl -w net.core.bpf_jit_harden=1 blinds those of users without privileges only",
        )
    elif harden is not None:
        who = "off" if not harden else "for users without privileges"
        yield Check(GROUP, "hardening", "ok", f"{who} (bpf_jit_harden {harden})")
    limit = facts.number(f"{NET}bpf_jit_limit")
    if limit is not None:
        text = f"{limit} bytes of machine code at most (bpf_jit_limit)"
        if limit < SMALL_LIMIT:
            remedy = f"sysctl -w net.core.bpf_jit_limit={64 << 20}"
            yield Check(GROUP, "limit", "warning", f"{text}, and loading fails beyond", remedy)
        else:
            yield Check(GROUP, "limit", "ok", text)
    yield _names(facts.number(f"{NET}bpf_jit_kallsyms"), harden)


def _enabled(enable: int | None, always: bool) -> Check:
    if enable is None:
        return Check(
            GROUP,
            "compiler",
            "missing",
            "programs are interpreted: several times slower, and no calls of kernel functions",
            "a kernel with CONFIG_BPF_JIT=y, where its architecture has a compiler",
        )
    if enable == 0:
        return Check(
            GROUP,
            "compiler",
            "warning",
            "switched off (bpf_jit_enable 0): programs are interpreted, several times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        )
    if enable == 2:
        return Check(
            GROUP,
            "compiler",
            "warning",
            "the code of every program is written to the kernel's log (bpf_jit_enable 2)",
            "sysctl -w net.core.bpf_jit_enable=1",
        )
    return Check(GROUP, "compiler", "ok", "on" + (", and cannot be off" if always else ""))


def _names(names: int | None, harden: int | None) -> Check:
    if names == 0:
        remedy = "sysctl -w net.core.bpf_jit_kallsyms=1"
        text = "programs have no names in stacks and profiles (bpf_jit_kallsyms 0)"
        return Check(GROUP, "names", "warning", text, remedy)
    return Check(GROUP, "names", "ok", "programs have names in stacks and profiles")
