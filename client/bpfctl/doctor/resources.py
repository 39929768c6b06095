# SPDX-License-Identifier: Apache-2.0
"""Memory, limits of the daemon's process, room on disk, and the clock."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator

from bpfctl.doctor.check import Check
from bpfctl.doctor.facts import Facts

GROUP = "resources"

LOW_MEMORY = 64 << 20
LOW_ROOM = 64 << 20
"""Bytes: a bundle takes 50 MB, an object rarely one."""
FEW_FILES = 1024
OFF_SECONDS = 60
"""How far clocks may be apart before it matters to people who read times."""
_EARLY = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC).timestamp()


def checks(facts: Facts) -> Iterator[Check]:
    """In the order of what hurts first."""
    yield _accounting(facts)
    yield from _files(facts)
    found = re.search(r"^MemAvailable:\s*(\d+) kB", facts.files.get("/proc/meminfo", ""), re.M)
    if found:
        free = int(found[1]) * 1024
        text = f"{_size(free)} available"
        if free < LOW_MEMORY:
            text += ": large maps and ring buffers will not fit"
            yield Check(GROUP, "memory", "warning", text, "lower the sizes with --map-size")
        else:
            yield Check(GROUP, "memory", "ok", text)
    yield from _storage(facts)
    yield from _clock(facts)


def _limit(facts: Facts, name: str) -> str | None:
    found = re.search(rf"^{name}\s+(\w+)", facts.process("limits"), re.MULTILINE)
    return found[1] if found else None


def _accounting(facts: Facts) -> Check:
    name = "memory of maps"
    if facts.has("memory accounting by cgroup"):
        return Check(GROUP, name, "ok", "accounted by cgroup: no RLIMIT_MEMLOCK to meet")
    limit = _limit(facts, "Max locked memory")
    if limit in ("unlimited", None):
        known = "is unlimited for the daemon" if limit else "counts, and is not known"
        return Check(GROUP, name, "ok", f"RLIMIT_MEMLOCK {known}")
    return Check(
        GROUP,
        name,
        "warning",
        f"this kernel counts it against RLIMIT_MEMLOCK, {_size(int(limit))}: larger maps fail "
        "with EPERM",
        "LimitMEMLOCK=infinity in the daemon's unit, or `ulimit -l unlimited` before it",
    )


def _files(facts: Facts) -> Iterator[Check]:
    limit = _limit(facts, "Max open files")
    if limit is None:
        return
    text = f"the daemon may have {limit} open: each program, map and link takes one"
    if limit.isdecimal() and int(limit) < FEW_FILES:
        yield Check(GROUP, "files", "warning", text, "LimitNOFILE=65536 in the daemon's unit")
    else:
        yield Check(GROUP, "files", "ok", text)


def _storage(facts: Facts) -> Iterator[Check]:
    room = facts.storage
    if room is None:
        return
    text = f"{_size(room.free_bytes)} of {_size(room.total_bytes)} free at {room.path}"
    if room.read_only:
        yield Check(
            GROUP,
            "state folder",
            "missing",
            f"{room.path} may only be read: what is loaded cannot be taken up again",
            "another folder with `bpfd serve --state-dir`",
        )
    elif room.free_bytes < LOW_ROOM:
        remedy = "make room there, or another folder with `bpfd serve --state-dir`"
        yield Check(GROUP, "state folder", "warning", text, remedy)
    else:
        yield Check(GROUP, "state folder", "ok", text)


def _clock(facts: Facts) -> Iterator[Check]:
    uptime = re.match(r"[\d.]+", facts.files.get("/proc/uptime", ""))
    if uptime is None:
        return
    epoch = facts.info.boottime_epoch
    theirs = epoch.seconds + epoch.nanos / 1e9 + float(uptime[0])
    shown = datetime.datetime.fromtimestamp(theirs, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    off = theirs - facts.now
    remedy = "set it: `date -s`, NTP, or a battery for the clock"
    if theirs < _EARLY:
        text = f"it shows {shown}: times of events are wrong, TLS certificates not valid yet"
        yield Check(GROUP, "clock", "warning", text, remedy)
    elif abs(off) > OFF_SECONDS:
        text = f"it shows {shown} UTC, {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}"
        yield Check(GROUP, "clock", "warning", f"{text} of this workstation", remedy)
    else:
        yield Check(GROUP, "clock", "ok", f"{shown} UTC")


def _size(number: int) -> str:
    size = float(number)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
