# SPDX-License-Identifier: Apache-2.0
"""socket_filter: what a socket receives (kernel 3.19, 89aa075832b0).

On a socket of a process it decides what that receives. On an interface it sees copies of
all packets, by a packet socket that lives as long as the attachment.
"""

from __future__ import annotations

from bpfd import errors
from bpfd.attach import process_socket
from bpfd.attach.attachment import ATOMIC, Attachment, Program, hook
from bpfd.attach.failure import refused
from bpfd.attach.place import located
from bpfd.kernel import sockets
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2, links_pb2

HOOK = hook("socket_filter", {ProgType.SOCKET_FILTER}, "CAP_NET_RAW")

PACKETS = "packet socket"


class PacketAttachment(Attachment):
    """A packet socket of this daemon; its fd is the attachment."""

    def __init__(self, fd: int) -> None:
        super().__init__(HOOK, [fd], PACKETS, pinnable=False)

    def close(self) -> None:
        """The program goes with the socket."""
        self.release()

    def update(self, program: Program) -> links_pb2.UpdateMethod.ValueType:
        """The kernel switches from one packet to the next."""
        self.check(program)
        try:
            sockets.set_program(self.fds[0], sockets.SO_ATTACH_BPF, program.fd)
        except OSError as error:
            operation = "replacing the program of a packet socket"
            raise refused(error, operation, HOOK.capability) from None
        return ATOMIC


def plan(
    program: Program, point: attach_pb2.SocketFilter
) -> process_socket.SocketJournal | None:
    """What `attach` is going to do; None: nothing that outlives the daemon."""
    HOOK.check(program)
    match point.WhichOneof("socket"):
        case "process_socket":
            return process_socket.plan(HOOK, program, point.process_socket)
        case "raw":
            return None
        case _:
            raise errors.InvalidArgument(
                "socket_filter", "an interface, or a process and its fd must be given"
            )


def attach(
    program: Program,
    point: attach_pb2.SocketFilter,
    journal: process_socket.SocketJournal | None = None,
) -> Attachment:
    """The method is "socket option" or "packet socket".

    Raises NotFound, AttachBusy, InvalidArgument, NotSupported, PermissionMissing,
    KernelError.
    """
    journal = journal or plan(program, point)
    if journal is not None:
        return process_socket.attach(HOOK, program, journal)
    with located(point.raw) as place:
        try:
            return PacketAttachment(sockets.filtered_packets(place.name, program.fd))
        except OSError as error:
            operation = f"opening a packet socket of {place}"
            raise refused(error, operation, HOOK.capability) from None
