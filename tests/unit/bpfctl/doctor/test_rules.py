# SPDX-License-Identifier: Apache-2.0
"""Each rule, on a target on which only that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from bpfctl.doctor import diagnose, usable
from bpfctl.doctor.facts import KERNEL, NET, Facts, Interface

from bpfd.v1 import files_pb2
from tests.unit.bpfctl.doctor.made import (
    LIMITS,
    STATUS,
    check,
    facts,
    feature,
    info,
    with_feature,
    without_mount,
)


def test_a_target_on_which_all_is_well() -> None:
    checks = diagnose(facts())
    assert {each.status for each in checks} == {"ok"}
    assert not any(each.remedy for each in checks)
    assert usable(checks)
    names = [(each.group, each.check) for each in checks]
    assert len(names) == len(set(names))


FILE_RULES: list[tuple[dict[str, str | None], str, str, str, str, str]] = [
    (
        {f"{NET}bpf_jit_enable": "0"},
        "JIT",
        "compiler",
        "warning",
        "interpreted",
        "bpf_jit_enable=1",
    ),
    (
        {f"{NET}bpf_jit_enable": "2"},
        "JIT",
        "compiler",
        "warning",
        "kernel's log",
        "bpf_jit_enable=1",
    ),
    (
        {f"{NET}bpf_jit_enable": None},
        "JIT",
        "compiler",
        "missing",
        "interpreted",
        "CONFIG_BPF_JIT",
    ),
    (
        {f"{NET}bpf_jit_harden": "2"},
        "JIT",
        "hardening",
        "warning",
        "blinded",
        "bpf_jit_harden=1",
    ),
    ({f"{NET}bpf_jit_limit": "100000"}, "JIT", "limit", "warning", "100000", "bpf_jit_limit="),
    (
        {f"{NET}bpf_jit_kallsyms": "0"},
        "JIT",
        "names",
        "warning",
        "no names",
        "bpf_jit_kallsyms=1",
    ),
    (
        {f"{KERNEL}unprivileged_bpf_disabled": "0"},
        *("sysctl", "unprivileged_bpf_disabled", "warning", "every user", "disabled=2"),
    ),
    (
        {f"{KERNEL}unprivileged_bpf_disabled": None},
        *("sysctl", "unprivileged_bpf_disabled", "missing", "bpf(2)", "CONFIG_BPF_SYSCALL"),
    ),
    (
        {f"{KERNEL}perf_event_paranoid": None},
        *("sysctl", "perf_event_paranoid", "missing", "no perf events", "CONFIG_PERF_EVENTS"),
    ),
    (
        {f"{KERNEL}perf_event_max_sample_rate": "300"},
        *("sysctl", "perf_event_max_sample_rate", "warning", "300", "max_sample_rate="),
    ),
    (
        {f"{KERNEL}bpf_stats_enabled": "1"},
        *("sysctl", "bpf_stats_enabled", "warning", "timed", "bpf_stats_enabled=0"),
    ),
    (
        {f"{KERNEL}ftrace_enabled": "0"},
        *("sysctl", "ftrace_enabled", "warning", "fentry", "ftrace_enabled=1"),
    ),
    (
        {f"{KERNEL}kptr_restrict": "2"},
        "kernel",
        "symbols",
        "warning",
        "hidden",
        "kptr_restrict=1",
    ),
    (
        {"/proc/meminfo": "MemAvailable:  20000 kB"},
        *("resources", "memory", "warning", "20 MiB", "--map-size"),
    ),
    (
        {LIMITS: "Max open files   256   4096   files"},
        *("resources", "files", "warning", "256", "LimitNOFILE"),
    ),
    ({STATUS: "Seccomp:\t2"}, "privileges", "seccomp", "warning", "filter", "bpf(2)"),
    (
        {"/sys/kernel/debug/kprobes/enabled": "0"},
        *("tracing", "kprobes", "warning", "never run", "kprobes/enabled"),
    ),
]


@pytest.mark.parametrize(
    ("files", "group", "name", "status", "reason", "remedy"),
    FILE_RULES,
    ids=[f"{rule[1]} {rule[2]} {rule[4]}" for rule in FILE_RULES],
)
def test_files(
    files: dict[str, str | None], group: str, name: str, status: str, reason: str, remedy: str
) -> None:
    found = facts(files=files)
    one = check(found, group, name)
    assert one.status == status
    assert reason in one.reason
    assert remedy in one.remedy
    wrong = [each for each in diagnose(found) if each.status != "ok"]
    assert wrong == [one]
    assert usable(diagnose(found))


@pytest.mark.parametrize(
    ("daemon", "client", "status", "remedy"),
    [
        ("1.2.3", "1.2.3", "ok", ""),
        ("1.2.3", "1.10.0", "warning", "bpfctl target upgrade board"),
        ("1.10.0", "1.9.0", "warning", "update bpfctl"),
        ("1.2.3+4", "1.2.3", "ok", ""),
    ],
)
def test_versions(daemon: str, client: str, status: str, remedy: str) -> None:
    found = facts(client_version=client)
    found.info.daemon_version = daemon
    one = check(found, "daemon", "version")
    assert (one.status, remedy in one.remedy) == (status, True)


@pytest.mark.parametrize(
    ("role", "status"),
    [("viewer", "warning"), ("tracer", "warning"), ("operator", "ok"), ("admin", "ok")],
)
def test_roles(role: str, status: str) -> None:
    found = facts()
    found.info.role = role
    assert check(found, "daemon", "role").status == status


def test_btf() -> None:
    found = facts()
    found.info.btf_sha256 = b""
    one = check(found, "kernel", "BTF")
    assert one.status == "missing"
    assert "bpfctl btf fetch -t board" in one.remedy
    kept = facts(btf_kept="6.1.0-armmp", info=found.info)
    one = check(kept, "kernel", "BTF")
    assert (one.status, "6.1.0-armmp" in one.reason) == ("warning", True)
    assert "CONFIG_DEBUG_INFO_BTF" in one.remedy


def test_a_configuration_that_cannot_be_read() -> None:
    one = check(facts(config=""), "kernel", "configuration")
    assert one.status == "warning"
    assert "/boot/config-6.12.3-one" in one.remedy


@pytest.mark.parametrize(
    ("kind", "status", "remedy", "is_usable"),
    [
        ("bpf", "missing", "mount -t bpf bpf /sys/fs/bpf", False),
        ("tracefs", "missing", "mount -t tracefs", True),
        ("debugfs", "warning", "mount -t debugfs", True),
        ("cgroup2", "missing", "mount -t cgroup2", True),
    ],
)
def test_mounts(kind: str, status: str, remedy: str, is_usable: bool) -> None:
    found = without_mount(kind)
    one = check(found, "mounts", kind)
    assert (one.status, remedy in one.remedy) == (status, True)
    assert usable(diagnose(found)) == is_usable


def test_a_file_system_that_the_kernel_lacks() -> None:
    found = without_mount("tracefs", files={"/proc/filesystems": "nodev\tbpf"})
    assert "CONFIG_TRACING" in check(found, "mounts", "tracefs").remedy


def test_mounts_that_may_only_be_read() -> None:
    found = facts()
    for mount in found.info.mounts:
        mount.read_only = True
    assert check(found, "mounts", "bpf").status == "missing"
    assert "remount,rw /sys/fs/bpf" in check(found, "mounts", "bpf").remedy
    assert check(found, "mounts", "tracefs").status == "ok"
    found.info.mounts.add(type="bpf", path="/other")
    assert check(found, "mounts", "bpf").reason == "/other"


BPF, PERFMON, SYS_ADMIN, NET_ADMIN = 39, 38, 21, 12


@pytest.mark.parametrize(
    ("lost", "name", "status", "is_usable"),
    [
        ([BPF], "CAP_BPF", "ok", True),
        ([BPF, SYS_ADMIN], "CAP_BPF", "missing", False),
        ([PERFMON], "CAP_PERFMON", "ok", True),
        ([PERFMON, SYS_ADMIN], "CAP_PERFMON", "warning", True),
        ([NET_ADMIN], "CAP_NET_ADMIN", "missing", True),
        ([SYS_ADMIN], "CAP_SYS_ADMIN", "warning", True),
    ],
)
def test_capabilities(lost: list[int], name: str, status: str, is_usable: bool) -> None:
    found = facts()
    for bit in lost:
        found.info.capabilities &= ~(1 << bit)
    one = check(found, "privileges", name)
    assert one.status == status
    assert ("root" in one.remedy) == (status != "ok")
    assert usable(diagnose(found)) == is_usable


def test_events_without_the_privilege() -> None:
    found = facts()
    found.info.capabilities &= ~(1 << PERFMON | 1 << SYS_ADMIN)
    one = check(found, "sysctl", "perf_event_paranoid")
    assert (one.status, "CAP_PERFMON" in one.remedy) == ("warning", True)


@pytest.mark.parametrize(
    ("mode", "status"),
    [("", "ok"), ("none", "ok"), ("integrity", "warning"), ("confidentiality", "warning")],
)
def test_lockdown(mode: str, status: str) -> None:
    found = facts()
    found.info.lockdown = mode
    assert check(found, "privileges", "lockdown").status == status


@pytest.mark.parametrize(
    ("limit", "status"), [("65536", "warning"), ("unlimited", "ok"), (None, "ok")]
)
def test_memory_of_kernels_that_count_by_limit(limit: str | None, status: str) -> None:
    text = f"Max locked memory   {limit}  {limit}  bytes" if limit else ""
    found = with_feature(
        facts(files={LIMITS: text}), feature("memory accounting by cgroup", supported=False)
    )
    one = check(found, "resources", "memory of maps")
    assert (one.status, "LimitMEMLOCK" in one.remedy) == (status, status != "ok")


@pytest.mark.parametrize(
    ("free", "read_only", "status"),
    [(1 << 30, False, "ok"), (1 << 20, False, "warning"), (1 << 30, True, "missing")],
)
def test_room(free: int, read_only: bool, status: str) -> None:
    storage = files_pb2.StorageResponse(
        path="/s", total_bytes=1 << 31, free_bytes=free, read_only=read_only
    )
    one = check(facts(storage=storage), "resources", "state folder")
    assert (one.status, "--state-dir" in one.remedy) == (status, status != "ok")


@pytest.mark.parametrize(
    ("seconds", "status", "words"),
    [
        (0, "ok", ""),
        (30, "ok", ""),
        (-3600, "warning", "3600 s behind"),
        (7200, "warning", "7200 s ahead"),
        (-1_790_000_000, "warning", "1970-01-01"),
    ],
)
def test_the_clock(seconds: int, status: str, words: str) -> None:
    found = facts()
    found.info.boottime_epoch.seconds += seconds
    one = check(found, "resources", "clock")
    assert one.status == status
    assert words in one.reason


def missing(name: str, config: str = "CONFIG_NET=y", **more: Any) -> Facts:
    found = facts(config=config)
    return with_feature(found, feature(name, supported=False, **more))


def test_a_feature_whose_option_is_not_set() -> None:
    one = check(missing("kprobe multi link", since="5.18"), "tracing", "kprobe multi link")
    assert one.status == "missing"
    assert one.reason == "tried: EINVAL; a kprobe for each function does the same, but slower"
    assert one.remedy == "a kernel with CONFIG_FPROBE=y (not set here)"


def test_a_feature_of_a_younger_kernel() -> None:
    found = missing("tcx link", since="6.15", config="")
    one = check(found, "hooks", "tcx link")
    assert "kernels have it since 6.15, this is 6.12.3-one" in one.reason
    assert one.remedy == "Linux 6.15 or newer, built with CONFIG_NET_XGRESS=y"
    found = missing("tcx link", since="6.15", config="CONFIG_NET_XGRESS=y")
    assert check(found, "hooks", "tcx link").remedy == "Linux 6.15 or newer"


def test_options_are_known_by_what_works() -> None:
    found = missing("map arena", since="6.15", config="")
    assert "CONFIG_MMU" in check(found, "map types", "arena").remedy
    found = missing("program sched_act", config="")  # sched_cls works, of the same options
    remedy = check(found, "program types", "sched_act").remedy
    assert remedy == "its options are set: perhaps this architecture has none of it"


def test_a_feature_that_a_policy_refuses() -> None:
    config = "CONFIG_BPF_LSM=y\nCONFIG_DEBUG_INFO_BTF=y"
    found = missing(
        "LSM", config, probe="attaching: EPERM (no)", needs="CONFIG_BPF_LSM and more"
    )
    assert "policy" in check(found, "tracing", "LSM").remedy
    found = missing("LSM", config, needs="CONFIG_BPF_LSM and bpf in the kernel's lsm= list")
    assert check(found, "tracing", "LSM").remedy == "bpf in the kernel's lsm= list"


def test_what_does_the_work_is_named_only_where_it_works() -> None:
    found = missing("fentry")
    assert "a kprobe sees the same" in check(found, "tracing", "fentry").reason
    found = with_feature(found, feature("kprobe", supported=False))
    assert "a kprobe sees the same" not in check(found, "tracing", "fentry").reason


def test_a_feature_that_this_bpfctl_does_not_know() -> None:
    found = missing("program of_tomorrow", needs="CONFIG_TOMORROW")
    assert "CONFIG_TOMORROW=y" in check(found, "program types", "of_tomorrow").remedy


def test_a_target_without_bpf() -> None:
    found = facts()
    for each in found.info.features:
        each.supported = False
    checks = diagnose(found)
    assert not usable(checks)
    assert check(found, "program types", "in all").status == "missing"
    assert check(found, "program types", "in all").essential


@pytest.mark.parametrize(
    ("driver", "status"), [("virtio_net", "ok"), ("smsc95xx", "warning"), ("igc", "ok")]
)
def test_drivers(driver: str, status: str) -> None:
    found = facts(interfaces=(Interface("eth0", driver),))
    one = check(found, "network", "eth0")
    assert (one.status, "mode=generic" in one.remedy) == (status, status != "ok")


@pytest.mark.parametrize(
    ("kind", "words"),
    [("veth", "natively"), ("tun", "natively"), ("bridge", "generic"), ("", "generic")],
)
def test_virtual_interfaces_are_told_by_kind(kind: str, words: str) -> None:
    names = [f"v{number}" for number in range(9)]
    found = facts(interfaces=tuple(Interface(name, "", kind) for name in names))
    one = check(found, "network", kind or "of another kind")
    assert one.status == "ok"
    assert one.reason.startswith("v0, v1, v2, v3, v4, ...: ")
    assert words in one.reason


def test_facts_can_be_kept() -> None:
    found = facts(btf_kept="x", unread={"/a": "no"})
    assert Facts.from_json(found.as_json()) == found
    bare = facts(storage=None, info=info())
    assert Facts.from_json(bare.as_json()) == bare
