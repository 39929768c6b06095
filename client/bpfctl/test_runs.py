# SPDX-License-Identifier: Apache-2.0
"""Test runs of a program on a target: one packet or thousands, and what became of each."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bpfctl.contexts import CONTEXT, PACKET, Contexts
from bpfctl.errors import InvalidArgument
from bpfctl.verdicts import verdict

if TYPE_CHECKING:
    from bpfctl.target import Target
    from bpfd.v1 import common_pb2, programs_pb2

_ROOM = 4096
"""Bytes that a program may put in front of a packet."""

_ETHERNET_BYTES = 14

_WITHOUT_ETHERNET = tuple(
    kind for kind in PACKET if kind not in ("xdp", "sched_cls", "sched_act", "flow_dissector")
)
_OF_THE_KERNEL = ("ifindex", "ingress_ifindex", "wire_len", "gso_segs", "gso_size", "hwtstamp")
"""Fields of struct __sk_buff that the kernel fills in and no program can write."""

_BATCH_PACKETS = 4096
_BATCH_BYTES = 4 << 20
"""Bounds of one call, below those of protos/bpfd/v1/programs.proto."""


@dataclass(frozen=True)
class Outcome:
    """What became of one packet, or of one run without."""

    packet: bytes
    verdict: str
    """Empty: the kernel does not tell, as of live frames and of what it refused."""
    return_value: int
    duration_ns: int
    """Mean of the runs."""
    output: bytes
    """The packet behind the run; of a flow dissector struct bpf_flow_keys."""
    context: bytes
    """The same of the context, where one was given."""
    given_context: bytes = b""
    errno: int = 0
    """Why the kernel refused this packet; 0: the program ran."""

    @property
    def changed(self) -> bool:
        """Whether the packet is another behind the run."""
        return not self.errno and self.output != self.packet

    @property
    def error(self) -> str:
        """The same in words."""
        if self.errno == errno.EINVAL and len(self.packet) < _ETHERNET_BYTES:
            return "shorter than an Ethernet header"
        return os.strerror(self.errno) if self.errno else ""


@dataclass(frozen=True)
class Settings:
    """How to run."""

    repeat: int = 1
    netns: str = ""
    """Name of a network namespace, or an absolute path; empty: the daemon's."""
    cpu: int | None = None
    """For raw tracepoints."""
    live_frames: bool = False
    """XDP frames really leave or are received; there is no output then."""
    batch_size: int = 0
    """Frames in flight of these."""

    def request(self, ref: common_pb2.ProgramRef) -> programs_pb2.TestRunRequest:
        """A request without packet and context."""
        from bpfd.v1 import programs_pb2

        # Syscall programs and such of sk_lookup take no number of repeats but 0 and 1.
        request = programs_pb2.TestRunRequest(
            program=ref,
            repeat=self.repeat if self.repeat > 1 else 0,
            live_frames=self.live_frames,
            batch_size=self.batch_size,
        )
        if self.cpu is not None:
            request.cpu = self.cpu
        if self.netns.startswith("/"):
            request.netns.path = self.netns
        elif self.netns:
            request.netns.name = self.netns
        return request


@dataclass(frozen=True)
class TestRunner:
    """Runs one program. Every method raises the kinds of `bpfctl.errors`."""

    __test__ = False  # no test class

    target: Target
    program: common_pb2.KernelProgram
    settings: Settings = Settings()
    context: Sequence[str] = ()
    """As `bpfctl test-run --ctx` takes it; see `bpfctl.contexts`."""
    contexts: Contexts = field(init=False)

    def __post_init__(self) -> None:
        contexts = Contexts(self.target, self.program, self.context)
        object.__setattr__(self, "contexts", contexts)

    @property
    def type(self) -> str:
        """bpftool's name of the program's type."""
        return self.contexts.type

    def check(self, packets: bool) -> None:
        """Raise InvalidArgument where packets are given or missing against the type."""
        name = self.program.name
        if self.type in PACKET and not packets:
            raise InvalidArgument(
                "packet", f"{name} ({self.type}) needs one: --hex, --pcap or --scapy"
            )
        if self.type in CONTEXT and packets:
            raise InvalidArgument(
                "packet", f"{name} ({self.type}) takes none; its input is --ctx NAME=VALUE"
            )
        if self.type == "sk_lookup" and not self.context:
            raise InvalidArgument(
                "--ctx",
                f"{name} needs it, as family=2 protocol=6 local_ip4=10.0.0.1 local_port=80",
            )
        if self.settings.live_frames and self.type != "xdp":
            raise InvalidArgument("--live", f"{name} ({self.type}) is no XDP program")

    def run(self, packet: bytes = b"") -> Outcome:
        """One run; an error of the kernel is raised with what may be wrong."""
        request = self.settings.request(self._ref)
        request.data, request.context = packet, self.contexts.bytes_for(packet)
        request.data_out_size = len(packet) + _ROOM if packet else 0
        rpc = self.target.rpc
        answer = rpc.call(rpc.programs.TestRun, request, "Programs.TestRun")
        return Outcome(
            packet,
            "" if self.settings.live_frames else verdict(self.type, answer.return_value),
            answer.return_value,
            answer.duration.ToNanoseconds(),
            packet if self.settings.live_frames else self._output(packet, answer.data),
            answer.context,
            request.context,
        )

    def run_all(self, packets: Iterable[bytes]) -> Iterator[Outcome]:
        """Packet after packet, thousands with one call. One that the kernel refuses has an
        `errno`; when it refuses all of the first call, that is raised."""
        first = True
        for batch in _batches(packets):
            outcomes = self._batch(batch)
            if first and all(outcome.errno for outcome in outcomes):
                self.run(batch[0])
            first = False
            yield from outcomes

    def _batch(self, packets: Sequence[bytes]) -> list[Outcome]:
        from bpfd.v1 import programs_pb2

        request = programs_pb2.TestRunBatchRequest(packets=packets)
        request.run.CopyFrom(self.settings.request(self._ref))
        request.run.data_out_size = max(map(len, packets)) + _ROOM
        if self.context:
            request.contexts.extend(map(self.contexts.bytes_for, packets))
        rpc = self.target.rpc
        answer = rpc.call(rpc.programs.TestRunBatch, request, "Programs.TestRunBatch")
        contexts = request.contexts or [b""] * len(packets)
        return [
            Outcome(
                packet,
                "" if run.errno else verdict(self.type, run.return_value),
                run.return_value,
                run.duration_ns,
                self._output(packet, run.data) if run.changed else packet,
                run.context,
                given,
                run.errno,
            )
            for packet, given, run in zip(packets, contexts, answer.runs, strict=True)
        ]

    def _output(self, packet: bytes, data: bytes) -> bytes:
        """The packet behind the run. Programs of sockets, cgroups and routes never see its
        Ethernet header, and the kernel gives zeros back for it."""
        if self.type == "netfilter":
            return packet  # the kernel gives neither packet nor context back
        if self.type in _WITHOUT_ETHERNET:
            return packet[:_ETHERNET_BYTES] + data[_ETHERNET_BYTES:]
        return data

    @property
    def _ref(self) -> common_pb2.ProgramRef:
        from bpfd.v1 import common_pb2

        return common_pb2.ProgramRef(id=self.program.id)

    def flow_keys(self, outcome: Outcome) -> dict[str, Any]:
        """What a flow dissector found: fields of struct bpf_flow_keys; empty for others."""
        return self.contexts.decode(outcome.output) if self.type == "flow_dissector" else {}

    def changed_context(self, outcome: Outcome) -> dict[str, tuple[Any, Any]]:
        """Fields of the context that the program changed: (before, after)."""
        if self.type == "netfilter":
            return {}
        before = self.contexts.decode(outcome.given_context)
        after = self.contexts.decode(outcome.context)
        return {
            name: (before.get(name), value)
            for name, value in after.items()
            if before.get(name) != value and name not in _OF_THE_KERNEL
        }


def _batches(packets: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Packets in the portions of a call."""
    batch: list[bytes] = []
    size = 0
    for packet in packets:
        if batch and (len(batch) == _BATCH_PACKETS or size + len(packet) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(packet)
        size += len(packet)
    if batch:
        yield batch
