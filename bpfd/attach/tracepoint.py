# SPDX-License-Identifier: Apache-2.0
"""tracepoint: a static event of the kernel with the record that tracefs describes."""

from __future__ import annotations

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.failure import near, refused
from bpfd.attach.perf_link import PERF_LINK, Event
from bpfd.kernel import perf_event, tracefs
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("tracepoint", {ProgType.TRACEPOINT}, "CAP_PERFMON")

_HINTS = {
    "EACCES": "the program reads beyond the tracepoint's record; see its format in tracefs",
}


def attach(program: Program, point: attach_pb2.Tracepoint) -> Attachment:
    """The method is "perf link", or "perf ioctl" before kernel 5.15 (no cookie there).

    Mounts tracefs when it is nowhere. Raises NotFound, InvalidArgument, NotSupported,
    LimitExceeded, PermissionMissing, KernelError.
    """
    HOOK.check(program)
    for field in ("category", "name"):
        text = getattr(point, field)
        if not text or "/" in text or "\0" in text or text in (".", ".."):
            raise errors.InvalidArgument(f"tracepoint.{field}", f"{text!r} is not a name")
    number = _event_id(point.category, point.name)
    event = Event(HOOK, f"tracepoint {point.category}/{point.name}", _HINTS)
    fd = event.open(lambda: perf_event.open_tracepoint(number))
    link, method = event.link(fd, program, point.cookie)
    return Attachment(
        HOOK,
        [link],
        method,
        again=lambda other: attach(other, point),
        pinnable=method == PERF_LINK,
    )


def _event_id(category: str, name: str) -> int:
    try:
        return tracefs.event_id(category, name)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise refused(error, "reading tracefs", "CAP_SYS_ADMIN") from None
    categories = tracefs.categories()
    if category not in categories:
        raise errors.NotFound(
            "tracepoint category",
            category,
            near(category, categories),
            f"the kernel has {len(categories)}, for example sched, sock, syscalls",
        )
    events = tracefs.events(category)
    found = [f"{category}/{each}" for each in near(name, events)]
    elsewhere = tracefs.categories_of(name)
    hint = f"{elsewhere[0]}/{name} exists" if elsewhere else f"{category} has {len(events)}"
    raise errors.NotFound("tracepoint", f"{category}/{name}", found, hint)
