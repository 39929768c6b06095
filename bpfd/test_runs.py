# SPDX-License-Identifier: Apache-2.0
"""BPF_PROG_TEST_RUN of any loaded program, with one packet or with many."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from bpfd.attach.attachment import Program
from bpfd.attach.place import entered, netns_path
from bpfd.errors import BpfdError, InvalidArgument, KernelError, NotSupported
from bpfd.kernel import spare, syscall
from bpfd.kernel.constants import ENOTSUPP, AttachType, ProgType, name_of
from bpfd.kernel.load_options import Cancel, Cancelled
from bpfd.objects.registry import Registry
from bpfd.v1 import programs_pb2

MAX_DATA = 16 * 1024 * 1024
"""Bytes of a packet, of a context, and of all packets of a batch."""

MAX_PACKETS = 65536

_ROOM = 256
"""Bytes for what a program puts in front of or behind a packet, unless said."""

_MIN_PACKET = 14

_LARGE_PACKET = 3400
"""Bytes from which on a packet may not fit the page that most types have for it."""

_XDP_LIVE_FRAMES = 1 << 1
_ON_CPU = 1 << 0
_NO_CONTEXT_BACK = (ProgType.SYSCALL, ProgType.RAW_TRACEPOINT, ProgType.TRACING)
_BEHIND_MAPS = (AttachType.XDP_DEVMAP, AttachType.XDP_CPUMAP)
_REFUSED = {
    errno.EINVAL: "fields of the context that the kernel does not take have to be 0, those "
    "that the program reads have to be there; or packet, repeat, CPU do not fit this type",
    errno.EAFNOSUPPORT: "the context says no family: 2 is IPv4, 10 is IPv6",
    errno.ENODEV: "the context names an interface that this network namespace has not",
    errno.ENOSPC: "the packet behind the run does not fit: ask for more room (data_out_size)",
    errno.E2BIG: "the context is longer than that of this kernel, and not 0 there",
    errno.EMSGSIZE: "the packet is too large for this type of program",
}


def one(
    registry: Registry, request: programs_pb2.TestRunRequest, cancelled: Cancel
) -> programs_pb2.TestRunResponse:
    """One packet, context or neither.

    Raises InvalidArgument, NotFound, NotSupported, KernelError, Cancelled.
    """
    _check(request)
    with _placed(registry, request) as program:
        value, nanoseconds, data, context = _run(
            program, request, request.data, request.context, cancelled
        )
    response = programs_pb2.TestRunResponse(return_value=value, data=data, context=context)
    response.duration.FromNanoseconds(nanoseconds)
    return response


def batch(
    registry: Registry, request: programs_pb2.TestRunBatchRequest, cancelled: Cancel
) -> programs_pb2.TestRunBatchResponse:
    """Packet after packet; one that the kernel refuses does not keep the others away.

    Raises InvalidArgument, NotFound, NotSupported, Cancelled.
    """
    _check_batch(request)
    response = programs_pb2.TestRunBatchResponse()
    with (
        _placed(registry, request.run) as program,
        spare.attached(program.fd, program.type, len(request.packets), request.run.repeat),
    ):
        contexts = request.contexts or [b""] * len(request.packets)
        for packet, context in zip(request.packets, contexts, strict=True):
            response.runs.append(_packet(program, request.run, packet, context, cancelled))
    return response


def _packet(
    program: Program,
    request: programs_pb2.TestRunRequest,
    packet: bytes,
    context: bytes,
    cancelled: Cancel,
) -> programs_pb2.PacketRun:
    try:
        value, nanoseconds, data, after = _run(program, request, packet, context, cancelled)
    except KernelError as error:
        return programs_pb2.PacketRun(errno=error.errno)
    changed = data != packet
    return programs_pb2.PacketRun(
        return_value=value,
        duration_ns=nanoseconds,
        changed=changed,
        data=data if changed else b"",
        context=after,
    )


def _check(request: programs_pb2.TestRunRequest) -> None:
    for name in ("data", "context"):
        if len(getattr(request, name)) > MAX_DATA:
            raise InvalidArgument(name, f"at most {MAX_DATA} bytes")


def _check_batch(request: programs_pb2.TestRunBatchRequest) -> None:
    if len(request.packets) > MAX_PACKETS:
        raise InvalidArgument("packets", f"at most {MAX_PACKETS}")
    for name in ("packets", "contexts"):
        if sum(map(len, getattr(request, name))) > MAX_DATA:
            raise InvalidArgument(name, f"at most {MAX_DATA} bytes together")
    if request.contexts and len(request.contexts) != len(request.packets):
        raise InvalidArgument("contexts", "one for each packet, or none")
    if request.run.live_frames:
        raise InvalidArgument("run.live_frames", "frames leave one packet at a time")
    if request.run.data or request.run.context:
        raise InvalidArgument("run", "the packets of a batch are `packets`")


@contextmanager
def _placed(registry: Registry, request: programs_pb2.TestRunRequest) -> Iterator[Program]:
    """The program, in the network namespace that was asked for."""
    path = netns_path(request.netns) if request.HasField("netns") else ""
    with registry.program(request.program) as (program, _), entered(path):
        yield program


def _run(
    program: Program,
    request: programs_pb2.TestRunRequest,
    data: bytes,
    context: bytes,
    cancelled: Cancel,
) -> tuple[int, int, bytes, bytes]:
    if cancelled():
        raise Cancelled
    flags = _XDP_LIVE_FRAMES if request.live_frames else 0
    flags |= _ON_CPU if request.HasField("cpu") else 0
    size = request.data_out_size or (len(data) + _ROOM if data else 0)
    if request.live_frames:
        size = 0
    try:
        return syscall.prog_test_run(
            program.fd,
            data,
            context=context,
            repeat=request.repeat,
            data_out_size=min(size, MAX_DATA),
            flags=flags,
            cpu=request.cpu,
            batch_size=request.batch_size,
            context_back=program.type not in _NO_CONTEXT_BACK and not request.live_frames,
        )
    except OSError as error:
        if error.errno == errno.EINTR and cancelled():
            raise Cancelled from None
        raise _explained(error, program, data) from None


def _explained(error: OSError, program: Program, data: bytes) -> BpfdError:
    kind = (name_of(ProgType, program.type) or f"type {program.type}").lower()
    if error.errno in (ENOTSUPP, errno.EOPNOTSUPP):
        return NotSupported(
            f"test runs of {kind} programs",
            needs=f"attach {program.name} and cause what it waits for",
        )
    if program.expected_attach_type in _BEHIND_MAPS and program.type == ProgType.XDP:
        return NotSupported(
            f"test runs of program {program.name}",
            needs="the kernel has none for XDP programs of a devmap or cpumap",
        )
    if program.type == ProgType.TRACING and error.errno == errno.EFAULT:
        return NotSupported(
            f"test runs of program {program.name}",
            needs="of tracing programs the kernel runs fentry, fexit and fmod_ret alone",
        )
    hint = _REFUSED.get(error.errno or 0, "")
    if error.errno in (errno.EINVAL, errno.ENOMEM) and len(data) > _LARGE_PACKET:
        hint = f"a packet of {len(data)} bytes may be too large for this type of program"
    if error.errno == errno.EINVAL and 0 < len(data) < _MIN_PACKET:
        hint = f"a packet has at least {_MIN_PACKET} bytes, this one {len(data)}"
    return KernelError(f"test run of {kind} program {program.name}", error.errno or 0, hint)
