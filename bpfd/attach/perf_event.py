# SPDX-License-Identifier: Apache-2.0
"""perf_event: samples, by default of the CPU clock, one event for each CPU or thread."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.perf_link import PERF_LINK, Event
from bpfd.attach.place import opened_cgroup
from bpfd.kernel import host, perf_event
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("perf_event", {ProgType.PERF_EVENT}, "CAP_PERFMON")

_HARDWARE, _TRACEPOINT, _CACHE, _RAW, _BREAKPOINT = 0, 2, 3, 4, 5
_ANY = -1
_MISSING = (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV, errno.ENXIO, errno.EINVAL)


def attach(program: Program, point: attach_pb2.PerfEvent) -> Attachment:
    """One link for each CPU; with `pid` one for each thread, and for each CPU if given.

    Threads that the process starts later are sampled too, children are not (before kernel
    5.13 they are). The method is "perf link", or "perf ioctl" before 5.15. Raises
    NotFound, InvalidArgument, NotSupported, PermissionMissing, KernelError; then nothing
    is attached.
    """
    HOOK.check(program)
    _check_sampling(point)
    places = _places(point)
    event = Event(
        HOOK,
        f"perf event {point.type}:{point.config}",
        {"EBADF": "the perf_event controller is on another cgroup hierarchy"},
    )
    fds: list[int] = []
    method = PERF_LINK
    try:
        with _cgroup(point) as cgroup_fd:
            for tid, cpu in places:
                fd = _opened(event, point, tid, cpu, cgroup_fd)
                if fd < 0:
                    continue  # the thread has ended meanwhile
                link, method = event.link(fd, program, point.cookie)
                fds.append(link)
        if not fds:
            raise errors.NotFound("process", str(point.pid))
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return Attachment(
        HOOK,
        fds,
        method,
        again=lambda other: attach(other, point),
        pinnable=method == PERF_LINK,
    )


def _check_sampling(point: attach_pb2.PerfEvent) -> None:
    if point.type == _TRACEPOINT:
        raise errors.InvalidArgument("perf_event.type", "tracepoints have a hook of their own")
    sampling = point.WhichOneof("sampling")
    if sampling is None or not getattr(point, sampling):
        raise errors.InvalidArgument(
            "perf_event", "frequency (samples a second) or period (events) must be given"
        )
    limit = perf_event.max_sample_rate()
    if limit and point.frequency > limit:
        raise errors.InvalidArgument(
            "perf_event.frequency",
            f"{point.frequency} is above kernel.perf_event_max_sample_rate, {limit}",
        )
    if point.period >= 1 << 63:
        raise errors.InvalidArgument("perf_event.period", "must be below 2^63")


def _places(point: attach_pb2.PerfEvent) -> list[tuple[int, int]]:
    """(thread, CPU) of each event; -1: any."""
    online = host.online_cpus()
    cpus = list(dict.fromkeys(point.cpus))
    if wrong := [each for each in cpus if each not in online]:
        raise errors.InvalidArgument(
            "perf_event.cpus",
            f"{', '.join(map(str, wrong))} not online; online are "
            + ", ".join(map(str, online)),
        )
    if not point.pid:
        return [(_ANY, cpu) for cpu in cpus or online]
    if point.HasField("cgroup"):
        raise errors.InvalidArgument("perf_event", "pid and cgroup exclude each other")
    try:
        threads = perf_event.threads(point.pid)
    except OSError:
        raise errors.NotFound("process", str(point.pid)) from None
    return [(tid, cpu) for tid in threads for cpu in cpus or [_ANY]]


@contextlib.contextmanager
def _cgroup(point: attach_pb2.PerfEvent) -> Iterator[int]:
    if not point.HasField("cgroup"):
        yield -1
        return
    with opened_cgroup(point.cgroup) as (fd, _):
        yield fd


def _opened(
    event: Event, point: attach_pb2.PerfEvent, tid: int, cpu: int, cgroup_fd: int
) -> int:
    def opener() -> int:
        return perf_event.open_sampler(
            point.type,
            point.config,
            cpu=cpu,
            frequency=point.frequency,
            period=point.period,
            tid=tid,
            cgroup_fd=cgroup_fd,
        )

    try:
        return event.open(opener)
    except errors.KernelError as error:
        if error.errno == errno.ESRCH:
            return -1
        if error.errno in _MISSING and cgroup_fd < 0:
            raise _not_there(point) from None
        raise


def _not_there(point: attach_pb2.PerfEvent) -> errors.NotSupported:
    sources = perf_event.sources()
    names = {number: name for name, number in sources.items()}
    feature = f"perf event {names.get(point.type, point.type)}:{point.config}"
    if point.type in (_HARDWARE, _CACHE, _RAW):
        needs = "there is no such hardware counter; type 1, config 0 (cpu-clock) always works"
    elif point.type == _BREAKPOINT:
        needs = "breakpoints need an address, which this hook does not take"
    else:
        needs = "event sources here: " + ", ".join(
            f"{name} {number}" for name, number in sorted(sources.items())
        )
    return errors.NotSupported(feature, needs=needs)
