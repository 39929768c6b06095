# SPDX-License-Identifier: Apache-2.0
"""What the daemon may ask of the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bpfctl.doctor.check import Check, Status
from bpfctl.doctor.facts import Facts

GROUP = "privileges"

_SYS_ADMIN = 21


@dataclass(frozen=True)
class _Capability:
    name: str
    bit: int
    lost: str
    covered: bool = True
    """CAP_SYS_ADMIN includes it."""


_CAPABILITIES = (
    _Capability("CAP_BPF", 39, "no program can be loaded"),
    _Capability("CAP_PERFMON", 38, "no tracing program can be loaded, no event opened"),
    _Capability("CAP_NET_ADMIN", 12, "nothing can be attached to interfaces", covered=False),
    _Capability(
        "CAP_SYS_ADMIN",
        21,
        "programs and maps of others cannot be listed or opened, nor namespaces entered",
    ),
    _Capability(
        "CAP_SYS_PTRACE", 19, "holders of programs and mapped files stay unknown", covered=False
    ),
    _Capability(
        "CAP_SYSLOG", 34, "addresses of the kernel's functions may be hidden", covered=False
    ),
)

_LOCKDOWN = {
    "integrity": "programs may not write into user memory (bpf_probe_write_user), and raw "
    "devices are closed",
    "confidentiality": "programs may not read the kernel's memory: tracing programs that use "
    "bpf_probe_read_kernel are refused",
}


def holds(facts: Facts, bit: int) -> bool:
    """Whether the daemon has a capability (linux/capability.h)."""
    return bool(facts.info.capabilities >> bit & 1)


def may_perfmon(facts: Facts) -> bool:
    """Whether perf_event_paranoid does not concern the daemon."""
    return holds(facts, 38) or holds(facts, _SYS_ADMIN)


def checks(facts: Facts) -> Iterator[Check]:
    """Capabilities, lockdown, filters of system calls."""
    remedy = (
        "run the daemon as root with all capabilities, or add it to AmbientCapabilities and "
        "CapabilityBoundingSet of its unit"
    )
    for wanted in _CAPABILITIES:
        if holds(facts, wanted.bit):
            yield Check(GROUP, wanted.name, "ok", "the daemon has it")
        elif wanted.covered and holds(facts, _SYS_ADMIN):
            yield Check(GROUP, wanted.name, "ok", "CAP_SYS_ADMIN covers it")
        else:
            essential = wanted.name == "CAP_BPF"
            status: Status = "missing" if essential or wanted.bit == 12 else "warning"
            text = f"the daemon lacks it: {wanted.lost}"
            yield Check(GROUP, wanted.name, status, text, remedy, essential)
    yield _lockdown(facts.info.lockdown)
    found = re.search(r"^Seccomp:\s*(\d)", facts.process("status"), re.MULTILINE)
    if found and found[1] != "0":
        yield Check(
            GROUP,
            "seccomp",
            "warning",
            "a filter decides which system calls the daemon may make: what it refuses looks as "
            "if the kernel could not do it",
            "in a container, let it make bpf(2) and perf_event_open(2)",
        )


def _lockdown(mode: str) -> Check:
    if mode not in _LOCKDOWN:
        unknown = "not known: the kernel has none, or securityfs is not mounted there"
        return Check(GROUP, "lockdown", "ok", mode or unknown)
    return Check(
        GROUP,
        "lockdown",
        "warning",
        f"{mode}: {_LOCKDOWN[mode]}",
        "boot without lockdown= on the kernel's command line; Secure Boot may force it",
    )
