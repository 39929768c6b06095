# SPDX-License-Identifier: Apache-2.0
"""Switches of the kernel (Documentation/admin-guide/sysctl/kernel.rst)."""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl.doctor.check import Check
from bpfctl.doctor.facts import KERNEL, Facts
from bpfctl.doctor.privileges import may_perfmon

GROUP = "sysctl"

LOW_RATE = 1000
"""Samples in a second of a CPU."""


def checks(facts: Facts) -> Iterator[Check]:
    """Those that decide what BPF may do, and what it costs."""
    yield _unprivileged(facts)
    yield from _perf(facts)
    if facts.number(f"{KERNEL}bpf_stats_enabled") == 1:
        yield Check(
            GROUP,
            "bpf_stats_enabled",
            "warning",
            "1: each run of each program is timed, which costs some 50 ns",
            "sysctl -w kernel.bpf_stats_enabled=0; `bpfctl top` switches it on while it looks",
        )
    elif facts.number(f"{KERNEL}bpf_stats_enabled") == 0:
        yield Check(GROUP, "bpf_stats_enabled", "ok", "0: runs are not timed")
    if facts.number(f"{KERNEL}ftrace_enabled") == 0:
        yield Check(
            GROUP,
            "ftrace_enabled",
            "warning",
            "0: fentry, fexit and most kprobes cannot be attached",
            "sysctl -w kernel.ftrace_enabled=1",
        )
    elif f"{KERNEL}ftrace_enabled" in facts.files:
        yield Check(GROUP, "ftrace_enabled", "ok", "1: functions can be traced")


def _unprivileged(facts: Facts) -> Check:
    name = "unprivileged_bpf_disabled"
    value = facts.number(KERNEL + name)
    if value is None:
        return Check(
            GROUP,
            name,
            "missing",
            "there is no such switch: the kernel has no bpf(2), or is older than 4.4",
            "a kernel with CONFIG_BPF_SYSCALL=y",
        )
    if value == 0:
        return Check(
            GROUP,
            name,
            "warning",
            "0: every user may load programs, which opens ways to read the kernel's memory",
            "sysctl -w kernel.unprivileged_bpf_disabled=2; the daemon does not need it open",
        )
    how = "until the next boot" if value == 1 else "and can be changed"
    return Check(GROUP, name, "ok", f"{value}: only privileged processes use BPF, {how}")


def _perf(facts: Facts) -> Iterator[Check]:
    paranoid = facts.number(f"{KERNEL}perf_event_paranoid")
    name = "perf_event_paranoid"
    if paranoid is None:
        yield Check(
            GROUP,
            name,
            "missing",
            "the kernel has no perf events: no profiles, kprobes, uprobes, perf buffers",
            "a kernel with CONFIG_PERF_EVENTS=y",
        )
        return
    if paranoid > 0 and not may_perfmon(facts):
        yield Check(
            GROUP,
            name,
            "warning",
            f"{paranoid}: the daemon may not open events of whole CPUs, as it has neither "
            "CAP_PERFMON nor CAP_SYS_ADMIN",
            "give the daemon CAP_PERFMON, or sysctl -w kernel.perf_event_paranoid=0",
        )
    else:
        yield Check(GROUP, name, "ok", f"{paranoid}: the daemon may open every event")
    rate = facts.number(f"{KERNEL}perf_event_max_sample_rate")
    if rate is not None and rate < LOW_RATE:
        yield Check(
            GROUP,
            "perf_event_max_sample_rate",
            "warning",
            f"{rate}: profiles of a higher frequency are refused; the kernel lowers it where "
            "samples take long, as on emulated machines",
            "sysctl -w kernel.perf_event_max_sample_rate=100000",
        )
    elif rate is not None:
        text = f"profiles of up to {rate} samples a second"
        yield Check(GROUP, "perf_event_max_sample_rate", "ok", text)
