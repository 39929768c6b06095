# SPDX-License-Identifier: Apache-2.0
"""File systems of the kernel that BPF needs, as the daemon sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bpfctl.doctor.check import Check
from bpfctl.doctor.facts import Facts

GROUP = "mounts"


@dataclass(frozen=True)
class _Wanted:
    kind: str
    lost: str
    mount: str
    option: str
    essential: bool = False
    writable: bool = True


_WANTED = (
    _Wanted(
        "bpf",
        "nothing can outlive the daemon: no pins, no load and attach",
        "mount -t bpf bpf /sys/fs/bpf",
        "CONFIG_BPF_SYSCALL",
        essential=True,
    ),
    _Wanted(
        "tracefs",
        "tracepoints have no formats, and kprobes of old kernels cannot be made",
        "mount -t tracefs nodev /sys/kernel/tracing",
        "CONFIG_TRACING",
        writable=False,
    ),
    _Wanted(
        "debugfs",
        "the list of kprobes, and what drivers show there",
        "mount -t debugfs nodev /sys/kernel/debug",
        "CONFIG_DEBUG_FS",
        writable=False,
    ),
    _Wanted(
        "cgroup2",
        "programs cannot be attached to cgroups",
        "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
        "CONFIG_CGROUPS and CONFIG_CGROUP_BPF",
    ),
)


def checks(facts: Facts) -> Iterator[Check]:
    """Each file system, mounted and writable."""
    known = {line.split()[-1] for line in facts.files.get("/proc/filesystems", "").splitlines()}
    for wanted in _WANTED:
        found = facts.mount(wanted.kind)
        if found is None:
            yield _absent(wanted, not known or wanted.kind in known)
        elif found.read_only and wanted.writable:
            yield Check(
                GROUP,
                wanted.kind,
                "missing",
                f"{found.path} may only be read: {wanted.lost}",
                f"mount -o remount,rw {found.path}, outside of the container if there is one",
                wanted.essential,
            )
        else:
            yield Check(GROUP, wanted.kind, "ok", found.path, essential=wanted.essential)


def _absent(wanted: _Wanted, known: bool) -> Check:
    if wanted.kind == "debugfs":
        text, remedy = f"not mounted: {wanted.lost} cannot be read", wanted.mount
        return Check(GROUP, "debugfs", "warning", text, remedy)
    remedy = wanted.mount if known else f"a kernel with {wanted.option}"
    text = f"{'not mounted' if known else 'the kernel has none'}: {wanted.lost}"
    return Check(GROUP, wanted.kind, "missing", text, remedy, wanted.essential)
