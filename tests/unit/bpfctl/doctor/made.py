# SPDX-License-Identifier: Apache-2.0
"""Facts of a target on which all is well, to be changed one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

from bpfctl.doctor import Check, Facts, diagnose
from bpfctl.doctor.facts import KERNEL, NET, Interface

from bpfd.v1 import files_pb2, target_pb2

NOW = 1_790_000_000.0
UPTIME = 5000.0
PID = 42
STATUS, LIMITS = f"/proc/{PID}/status", f"/proc/{PID}/limits"

FEATURES = (
    *("program socket_filter", "program xdp", "program kprobe", "program sched_cls"),
    *("map hash", "map array", "map perf_event_array", "map ringbuf", "map batch hash"),
    *("kernel BTF", "memory accounting by cgroup", "tcx link", "cgroup link", "XDP link"),
    *("kprobe", "fentry", "fexit", "LSM", "kprobe multi link", "instructions v4"),
)

FILES = {
    f"{KERNEL}unprivileged_bpf_disabled": "2",
    f"{KERNEL}bpf_stats_enabled": "0",
    f"{KERNEL}perf_event_paranoid": "2",
    f"{KERNEL}perf_event_max_sample_rate": "100000",
    f"{KERNEL}kptr_restrict": "1",
    f"{KERNEL}ftrace_enabled": "1",
    f"{NET}bpf_jit_enable": "1",
    f"{NET}bpf_jit_harden": "0",
    f"{NET}bpf_jit_kallsyms": "1",
    f"{NET}bpf_jit_limit": "528482304",
    "/proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 2000000 kB",
    "/proc/uptime": f"{UPTIME} 9000.0",
    "/proc/filesystems": "nodev\tsysfs\nnodev\ttracefs\nnodev\tbpf\nnodev\tcgroup2\n\text4",
    STATUS: "Name:\tbpfd\nSeccomp:\t0",
    LIMITS: "Max locked memory   8388608  8388608  bytes\nMax open files  4096  4096  files",
}


def feature(name: str, supported: bool = True, **more: Any) -> target_pb2.Feature:
    probe = more.pop("probe", "tried: works" if supported else "tried: EINVAL")
    return target_pb2.Feature(name=name, supported=supported, probe=probe, **more)


def info() -> target_pb2.TargetInfo:
    found = target_pb2.TargetInfo(
        api_minor=1,
        daemon_version="1.2.3",
        daemon_pid=PID,
        machine="x86_64",
        kernel_release="6.12.3-one",
        pointer_bits=64,
        btf_sha256=b"x" * 32,
        btf_size=5_000_000,
        lockdown="none",
        capabilities=(1 << 41) - 1,
        role="operator",
        libbpf_version="1.1",
        features=[feature(name) for name in FEATURES],
    )
    found.boottime_epoch.seconds = int(NOW - UPTIME)
    for kind, path in (
        ("bpf", "/sys/fs/bpf"),
        ("tracefs", "/sys/kernel/tracing"),
        ("debugfs", "/sys/kernel/debug"),
        ("cgroup2", "/sys/fs/cgroup"),
    ):
        found.mounts.add(type=kind, path=path)
    return found


def facts(**changes: Any) -> Facts:
    """All is well but for `changes`; `files` are changes too: None takes one away."""
    files = FILES | changes.pop("files", {})
    made = Facts(
        target="board",
        info=info(),
        client_version="1.2.3",
        now=NOW,
        files={path: text for path, text in files.items() if text is not None},
        config="CONFIG_BPF=y\nCONFIG_NET=y\n# CONFIG_FPROBE is not set\n",
        config_from="/proc/config.gz",
        interfaces=(Interface("lo", "", "loopback"), Interface("eth0", "virtio_net")),
        storage=files_pb2.StorageResponse(
            path="/var/lib/bpfd", total_bytes=8 << 30, free_bytes=4 << 30
        ),
    )
    return dataclasses.replace(made, **changes)


def without_mount(kind: str, **changes: Any) -> Facts:
    """A mount is not there."""
    found = facts(**changes)
    left = [mount for mount in found.info.mounts if mount.type != kind]
    del found.info.mounts[:]
    found.info.mounts.extend(left)
    return found


def with_feature(found: Facts, changed: target_pb2.Feature) -> Facts:
    """A feature in place of that of its name."""
    left = [each for each in found.info.features if each.name != changed.name]
    del found.info.features[:]
    found.info.features.extend([*left, changed])
    return dataclasses.replace(found)  # what it has cached is not of these features


def check(found: Facts, group: str, name: str) -> Check:
    """The only check of that name."""
    (one,) = [each for each in diagnose(found) if (each.group, each.check) == (group, name)]
    return one
