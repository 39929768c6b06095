# SPDX-License-Identifier: Apache-2.0
"""Brings the programs of a profile onto the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import InvalidArgument, NotFound, NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfctl.objects import LoadedObject
    from bpfctl.profiles.wish import Wish
    from bpfctl.sessions import Session
    from bpfctl.target import Target
    from bpfd.v1 import attach_pb2

SUMS_PER_STACK = 2
"""Size of a map of sums, by that of stacks."""

_NAMES = 100
"""Profiles that may run on a target at the same time."""

_FOLLOW = ("follow_fork", "follow_exit")


def load(target: Target, session: Session, wish: Wish, seconds: float) -> LoadedObject:
    """Builds and loads the package for readings every `seconds`; nothing is attached yet."""
    from bpfctl.build import build
    from bpfctl.facts import facts_of
    from bpfctl.objects import LoadSettings
    from bpfctl.package import load_package

    package = load_package(wish.package)
    built = build(package.source_path(), facts_of(target), target.btf.kernel_bytes)
    cgroup_id, level = cgroup(target, wish.cgroup) if wish.cgroup else (0, 0)
    info = target.info()
    stacks = wish.stacks(len(info.online_cpus) or info.possible_cpus, seconds)
    entries = {f"stacks_{turn}": stacks for turn in (0, 1)}
    entries |= {f"sums_{turn}": stacks * SUMS_PER_STACK for turn in (0, 1)}
    settings = LoadSettings(
        constants=wish.constants(cgroup_id, level, by_tables=wish.by_tables(info.machine)),
        map_entries=entries,
        skip=() if wish.follow else _FOLLOW,
    )
    loaded = _free_name(
        package.name,
        lambda name: target.load(built.object, name, session=session, settings=settings),
    )
    if wish.pids:
        known = _processes(target, wish.pids)
        for pid in wish.pids:
            if pid not in known:
                raise NotFound("process", str(pid), hint=f"on {target.name}")
        loaded.map("pids").update((pid, 1) for pid in wish.pids)
    return loaded


def _free_name(base: str, load: Callable[[str], LoadedObject]) -> LoadedObject:
    for number in range(1, _NAMES):
        name = f"bpfctl-{base}" + (f"-{number}" if number > 1 else "")
        try:
            return load(name)
        except InvalidArgument as error:
            if error.field != "name":
                raise
    return load(f"bpfctl-{base}-{_NAMES}")


def _processes(target: Target, pids: tuple[int, ...]) -> set[int]:
    from bpfd.v1 import target_pb2

    rpc = target.rpc
    request = target_pb2.ListProcessesRequest(pids=pids)
    with rpc.stream(rpc.target.ListProcesses, request, "Target.ListProcesses") as stream:
        return {process.pid for chunk in stream for process in chunk.processes}


def cgroup(target: Target, folder: str) -> tuple[int, int]:
    """Id of a cgroup, and how far it is below the root. Raises NotFound, NotSupported."""
    mount = next((each.path for each in target.info().mounts if each.type == "cgroup2"), "")
    if not mount:
        raise NotSupported("cgroups", needs="a mount of cgroup2 on the target")
    path = folder if folder.startswith("/") else f"{mount}/{folder}"
    path = path.rstrip("/")
    if path != mount and not path.startswith(f"{mount}/"):
        raise InvalidArgument("cgroup", f"{path} is not below {mount}, where cgroups (v2) are")
    # Since Linux 5.5 a cgroup's id is the inode of its folder (74321038a487).
    number = target.files.stat(path).inode
    return number, len([part for part in path[len(mount) :].split("/") if part])


def attach(loaded: LoadedObject, wish: Wish) -> tuple[list[str], str, str]:
    """Attaches; gives the names of the links, what samples ("" off-CPU) and why not better."""
    links: list[str] = []
    if wish.follow:
        for program, point in zip(
            _FOLLOW, ("sched_process_fork", "sched_process_exit"), strict=True
        ):
            links.append(loaded.attach(program, f"raw_tracepoint:{point}").name)
    if wish.off_cpu:
        links.append(loaded.attach("woken", "raw_tracepoint:sched_wakeup").name)
        links.append(loaded.attach("offcpu", "raw_tracepoint:sched_switch").name)
        return links, "", ""
    note = ""
    if wish.event in ("auto", "cycles"):
        try:
            links.append(loaded.attach("profile", sampler("cycles", wish.frequency)).name)
            return links, "cycles", ""
        except NotSupported:
            if wish.event == "cycles":
                raise
            note = "the target has no counter of CPU cycles, as most virtual machines"
    links.append(loaded.attach("profile", sampler("cpu-clock", wish.frequency)).name)
    return links, "cpu-clock", note


def sampler(event: str, frequency: int) -> attach_pb2.AttachPoint:
    """The attach point of an event by its name."""
    from bpfd.v1 import attach_pb2

    # PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES; PERF_TYPE_SOFTWARE,
    # PERF_COUNT_SW_CPU_CLOCK of include/uapi/linux/perf_event.h.
    kind, config = {"cycles": (0, 0), "cpu-clock": (1, 0)}[event]
    return attach_pb2.AttachPoint(
        perf_event=attach_pb2.PerfEvent(type=kind, config=config, frequency=frequency)
    )
