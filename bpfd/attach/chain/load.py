# SPDX-License-Identifier: Apache-2.0
"""Chains into the kernel, and what it says when one does not fit together."""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bpfd import errors
from bpfd.attach.chain import compose as chain_compose
from bpfd.attach.chain import pieces as chain_pieces
from bpfd.attach.chain.compose import Part
from bpfd.attach.chain.member import NAME, Member, members_in
from bpfd.attach.failure import refused
from bpfd.kernel import info, program_code, rejection, syscall
from bpfd.kernel.constants import (
    BPF_F_XDP_HAS_FRAGS,
    ENOTSUPP,
    AttachType,
    Cmd,
    MapType,
    ProgType,
)

_LOG_BYTES = 4 << 20
_TRIES = 5
"""As libbpf: EAGAIN means that a signal came while the verifier worked."""

_ARRAY_NAME = "bpfd_chain_next"
_STACK = re.compile(r"combined stack size of \d+ calls is (\d+)")
_MAPS = re.compile(r"number of maps per program has reached the limit of (\d+)")


def part(member: Member) -> Part:
    """What a member is made of. Raises NotSupported, NotFound, KernelError."""
    code = program_code.of(member.program_id)
    if code is None:
        raise errors.NotSupported(
            f"program {member.program} (id {member.program_id}) in a chain",
            needs="this daemon did not load it, so its instructions are not known: load its "
            "object with `bpfctl load`, with --replace where it is there already",
        )
    if why := chain_compose.obstacle(code):
        raise errors.NotSupported(
            f"program {member.program} in a chain", needs=f"{why}; attach it alone"
        )
    if code.ifindex:
        raise errors.NotSupported(
            f"program {member.program} in a chain",
            needs="it was loaded for one device (XDP metadata of the driver); attach it alone",
        )
    return Part(member, code, _btf_of(member))


def _btf_of(member: Member) -> bytes:
    try:
        with _opened(Cmd.PROG_GET_FD_BY_ID, member.program_id) as program:
            number = info.prog_info(program).btf_id
        if not number:
            return b""
        with _opened(Cmd.BTF_GET_FD_BY_ID, number) as btf:
            return info.btf_data(btf)[0]
    except FileNotFoundError:
        hint = "it was unloaded just now"
        raise errors.NotFound("program", member.program, hint=hint) from None


@contextmanager
def _opened(command: int, number: int) -> Iterator[int]:
    """An fd by its kernel id, for the time of the `with`. Raises OSError."""
    fd = syscall.fd_by_id(command, number)
    try:
        yield fd
    finally:
        os.close(fd)


def members_of(program_id: int) -> tuple[Member, ...]:
    """Who is in a chain, by what the kernel knows of its program; empty: it is none."""
    try:
        with _opened(Cmd.PROG_GET_FD_BY_ID, program_id) as program:
            found = info.prog_info(program)
        if found.name.decode(errors="replace") != NAME or not found.btf_id:
            return ()
        with _opened(Cmd.BTF_GET_FD_BY_ID, found.btf_id) as btf:
            return members_in(info.btf_data(btf)[0])
    except (OSError, ValueError):
        return ()


@dataclass
class Loaded:
    """A chain in the kernel. The fds belong to whoever holds this."""

    fd: int
    """The program for the interface."""
    arrays: list[int] = field(default_factory=list)
    """Prog arrays that lead from one piece to the next; empty: there is one."""

    def close(self) -> None:
        """Closes all that is still open; pieces without a holder go."""
        for fd in (self.fd, *self.arrays):
            os.close(fd)
        self.arrays = []


def load(parts: Sequence[Part]) -> Loaded:
    """The program that runs all parts in their order, and what it goes on to.

    Raises InvalidArgument for members that exclude each other, VerifierRejected, NotSupported,
    LimitExceeded, PermissionMissing, KernelError.
    """
    flags = frags_flag(parts)
    *others, last = chain_pieces.pieces(parts)
    told = [each.member for each in parts]
    found = Loaded(_load(last, flags, told if not others else (), 0))
    try:
        for number, piece in reversed(list(enumerate(others))):
            array = _array(found.fd)
            found.arrays.append(array)
            following = info.map_info(array).id
            fd = _load(piece, flags, told if not number else (), following)
            os.close(found.fd)
            found.fd = fd
    except OSError as error:
        found.close()
        raise refused(error, "preparing the chain", "CAP_BPF") from None
    except BaseException:
        found.close()
        raise
    return found


def _array(fd: int) -> int:
    """A prog array with one program."""
    array = syscall.map_create(MapType.PROG_ARRAY, 4, 4, 1, name=_ARRAY_NAME)
    try:
        syscall.map_update_elem(array, bytes(4), struct.pack("=I", fd))
    except OSError:
        os.close(array)
        raise
    return array


def _load(parts: Sequence[Part], flags: int, told: Sequence[Member], following: int) -> int:
    """The fd of one piece."""
    try:
        composed = chain_compose.compose(parts, told, following)
    except ValueError as error:
        raise errors.KernelError(
            "reading the BTF of programs", errno.EINVAL, str(error)
        ) from None
    with ExitStack() as stack:
        fds: dict[int, int] = {}

        def fd_of(number: int) -> int:
            if number not in fds:
                fds[number] = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, number)
                stack.callback(os.close, fds[number])
            return fds[number]

        try:
            instructions = program_code.with_maps(composed.instructions, fd_of)
            btf_fd = syscall.btf_load(composed.btf)
            stack.callback(os.close, btf_fd)
        except OSError as error:
            raise refused(error, "preparing the chain", "CAP_BPF") from None
        return _verified(parts, composed, instructions, btf_fd, flags, following)


def _verified(
    parts: Sequence[Part],
    composed: chain_compose.Composed,
    instructions: bytes,
    btf_fd: int,
    flags: int,
    following: int,
) -> int:
    def attempt(log: syscall.Buffer | None) -> int:
        return syscall.prog_load(
            ProgType.XDP,
            instructions,
            _license(parts),
            name=NAME,
            expected_attach_type=AttachType.XDP,
            flags=flags,
            btf_fd=btf_fd,
            func_info=composed.func_info,
            func_info_record_size=program_code.FUNC_INFO_BYTES,
            line_info=composed.line_info,
            line_info_record_size=program_code.LINE_INFO_BYTES,
            log_level=1 if log is not None else 0,
            log=log,
        )

    for _ in range(_TRIES):
        try:
            return attempt(None)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                break
    log = syscall.buffer(_LOG_BYTES)
    try:
        return attempt(log)
    except OSError as error:
        said = log.value.decode(errors="replace")
        raise explained(parts, error.errno or 0, said, in_pieces=bool(following)) from None


def _license(parts: Sequence[Part]) -> str:
    """GPL when every member is compatible with it: nobody lends it to another's code."""
    for each in parts:
        with _opened(Cmd.PROG_GET_FD_BY_ID, each.member.program_id) as program:
            if not info.prog_info(program).gpl_compatible & 1:
                return "Proprietary"
    return "GPL"


def frags_flag(parts: Sequence[Part]) -> int:
    """The flag of a chain that takes packets in several fragments. Raises InvalidArgument."""
    aware = [each for each in parts if each.code.flags & BPF_F_XDP_HAS_FRAGS]
    if not aware:
        return 0
    if len(aware) < len(parts):
        other = next(each.member.program for each in parts if each not in aware)
        raise errors.InvalidArgument(
            "program",
            f"{aware[0].member.program} takes packets in several fragments (section xdp.frags) "
            f"and {other} does not: in a chain all do or none",
        )
    return BPF_F_XDP_HAS_FRAGS


def explained(
    parts: Sequence[Part], error: int, log: str, *, in_pieces: bool = False
) -> errors.BpfdError:
    """The error for what the verifier said; `in_pieces`: this one goes on to another. Pure."""
    names = ", ".join(each.member.program for each in parts)
    tail = [each.member.program for each in parts if chain_compose.has_tail_calls(each.code)]
    unknown = re.search(r"tail_calls?.*(not supported|not allowed)", log)
    if in_pieces and unknown and not tail:
        return errors.NotSupported(
            f"a chain with more than {chain_pieces.MAX_MAPS} maps",
            needs="one program has no more, and to go on with a second one this kernel's JIT "
            "needs tail calls beside functions (x86 has since 5.10, arm64 since 6.0)",
        )
    if tail and unknown:
        return errors.NotSupported(
            f"the tail calls of {', '.join(tail)} inside a chain",
            needs="this kernel has none in functions (x86 has since 5.10, arm64 since 6.0); "
            "attach the program alone",
        )
    if found := _STACK.search(log):
        return errors.InvalidArgument(
            "program",
            f"the chain of {names} needs {found[1]} bytes of stack, and the kernel gives 512 "
            "to a program and all that it calls; a member that uses less fits",
        )
    if found := _MAPS.search(log):
        return errors.LimitExceeded(
            f"number of maps of a chain ({names} together)",
            int(found[1]),
            hint="let members share maps",
        )
    if error == ENOTSUPP:
        return errors.NotSupported(
            "chains of XDP programs",
            needs="its JIT has no calls of functions, and the kernel was built without an "
            "interpreter (CONFIG_BPF_JIT_ALWAYS_ON); attach one program alone",
        )
    return rejection.program_refused(error, f"{NAME} ({names})", log, ProgType.XDP)
