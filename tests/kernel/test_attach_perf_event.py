# SPDX-License-Identifier: Apache-2.0
"""perf_event: samples of this process's own work."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from bpfd import attach, errors
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import OVERLAP
from bpfd.features import PROBES
from bpfd.kernel import host, perf_event, syscall
from bpfd.v1 import attach_pb2
from tests.kernel.hooks_support import Programs, needs_root, open_fds, programs

pytestmark = needs_root

SOFTWARE, CPU_CLOCK, TASK_CLOCK = 1, 0, 1


@pytest.fixture
def loaded() -> Iterator[Programs]:
    with programs() as found:
        yield found


def point(**fields: object) -> attach_pb2.AttachPoint:
    request = attach_pb2.PerfEvent(type=SOFTWARE, config=CPU_CLOCK, frequency=999)
    request.MergeFrom(attach_pb2.PerfEvent(**fields))  # type: ignore[arg-type]
    return attach_pb2.AttachPoint(perf_event=request)


def work() -> None:
    """Uses 0.2 s of CPU: dozens of samples, however busy the machine is."""
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass


def test_one_link_for_each_cpu_and_samples(loaded: Programs) -> None:
    attachment = attach.attach(loaded["sample"], point(cookie=9))
    assert len(attachment.fds) == len(host.online_cpus())
    assert attachment.method == "perf link"
    work()
    attachment.close()
    seen = loaded.hits("sample")
    assert seen > 0
    assert loaded.hits("cookie") == 9
    work()
    assert loaded.hits("sample") == seen


def test_a_period_in_nanoseconds(loaded: Programs) -> None:
    request = point()
    request.perf_event.period = 1_000_000
    attachment = attach.attach(loaded["sample"], request)
    work()
    attachment.close()
    assert loaded.hits("sample") > 0


def test_chosen_cpus(loaded: Programs) -> None:
    cpu = host.online_cpus()[-1]
    attachment = attach.attach(loaded["sample"], point(cpus=[cpu, cpu]))
    assert len(attachment.fds) == 1
    home = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    work()
    os.sched_setaffinity(0, home)
    attachment.close()
    assert loaded.hits("sample") > 0
    with pytest.raises(errors.InvalidArgument, match="4095 not online; online are 0"):
        attach.attach(loaded["sample"], point(cpus=[cpu, 4095]))


def test_only_one_process_with_the_threads_it_starts(loaded: Programs) -> None:
    loaded.count_only(0)
    code = "import threading, time\nprint(1, flush=True)\ninput()\n"
    code += "def work():\n    end = time.thread_time() + 0.2\n"
    code += "    while time.thread_time() < end: pass\n"
    code += "t = threading.Thread(target=work); t.start(); t.join()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        attachment = attach.attach(loaded["sample"], point(pid=child.pid))
        assert len(attachment.fds) == len(perf_event.threads(child.pid))
        work()  # ours does not count
        assert loaded.hits("sample") == 0
        child.communicate(b"\n")
    assert loaded.hits("sample") > 0
    attachment.close()


def test_every_thread_of_a_process_has_its_event(loaded: Programs) -> None:
    ready, end = threading.Event(), threading.Event()

    def other() -> None:
        ready.wait()
        work()
        end.wait()

    thread = threading.Thread(target=other)
    thread.start()
    try:
        attachment = attach.attach(loaded["sample"], point(pid=os.getpid()))
        assert len(attachment.fds) == len(perf_event.threads(os.getpid()))
        ready.set()
    finally:
        ready.set()
        end.set()
        thread.join()
    attachment.close()
    assert loaded.hits("sample") > 0


def test_update_overlaps(loaded: Programs) -> None:
    attachment = attach.attach(loaded["sample"], point())
    assert attachment.update(loaded["sample_other"]) == OVERLAP
    before = loaded.hits("sample")
    work()
    assert loaded.hits("sample") == before
    assert loaded.hits("other") > 0
    attachment.close()


def test_nothing_is_left_when_one_cpu_fails(
    loaded: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = perf_event.open_sampler, []

    def fail_later(*words: int, **named: int) -> int:
        calls.append(named)
        if len(calls) > 1:
            raise OSError(24, "Too many open files")
        return real(*words, **named)

    monkeypatch.setattr(perf_event, "open_sampler", fail_later)
    if len(host.online_cpus()) < 2:
        pytest.skip("needs two CPUs")
    before = open_fds()
    with pytest.raises(errors.KernelError, match="too many files open"):
        attach.attach(loaded["sample"], point())
    assert open_fds() == before
    assert loaded.links() == []


def test_bad_requests(loaded: Programs) -> None:
    limit = perf_event.max_sample_rate()
    with pytest.raises(errors.InvalidArgument, match=f"perf_event_max_sample_rate, {limit}"):
        attach.attach(loaded["sample"], point(frequency=limit + 1))
    bare = attach_pb2.AttachPoint(perf_event=attach_pb2.PerfEvent(type=SOFTWARE))
    with pytest.raises(errors.InvalidArgument, match="frequency"):
        attach.attach(loaded["sample"], bare)
    with pytest.raises(errors.InvalidArgument, match="hook of their own"):
        attach.attach(loaded["sample"], point(type=2))
    with pytest.raises(errors.NotFound, match="process"):
        attach.attach(loaded["sample"], point(pid=1 << 30))
    with pytest.raises(errors.InvalidArgument, match="perf_event takes perf_event"):
        attach.attach(loaded["xdp_drop"], point())
    with pytest.raises(errors.NotSupported, match=r"event sources here: .*software 1"):
        attach.attach(loaded["sample"], point(type=4242))


def test_no_hardware_counter_says_what_works(loaded: Programs) -> None:
    request = point()
    request.perf_event.type, request.perf_event.config = 0, 0
    with contextlib.suppress(OSError):
        PROBES["hardware counters"].run()
        pytest.skip("this machine counts cycles")
    with pytest.raises(errors.NotSupported, match="cpu-clock"):
        attach.attach(loaded["sample"], request)


def test_pinned_links_are_adopted(loaded: Programs) -> None:
    first = attach.attach(loaded["sample"], point())
    pins = [f"/sys/fs/bpf/hk-{os.getpid()}-{number}" for number in range(len(first.fds))]
    try:
        for fd, pin in zip(first.fds, pins, strict=True):
            syscall.obj_pin(fd, pin)
        first.release()
        adopted = adopt([syscall.obj_get(pin) for pin in pins], point())
    finally:
        for pin in pins:
            os.unlink(pin)
    assert len(adopted.fds) == len(pins)
    found = find_point(adopted.fds).perf_event
    # Before Linux 6.6 a link does not tell its event.
    assert (found.type, found.config) in ((SOFTWARE, CPU_CLOCK), (0, 0))
    assert adopted.update(loaded["sample_other"]) == OVERLAP
    work()
    adopted.close()
    assert loaded.hits("other") > 0
