# SPDX-License-Identifier: Apache-2.0
"""The context that a test run hands a program: `mark=7` as bytes of struct __sk_buff.

Which struct that is follows from the program's type; the program's own BTF has it, or the
kernel's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bpfctl.errors import BpfctlError, InvalidArgument, NotSupported
from bpfctl.listing import program_type

if TYPE_CHECKING:
    from bpfctl.btf import Btf, Codec
    from bpfctl.target import Target
    from bpfd.v1 import common_pb2

PACKET = ("socket_filter", "sched_cls", "sched_act", "xdp", "cgroup_skb", "lwt_in", "lwt_out",
          "lwt_xmit", "lwt_seg6local", "flow_dissector", "netfilter")  # fmt: skip
"""Types that the kernel runs with a packet."""

CONTEXT = ("sk_lookup", "syscall", "raw_tracepoint", "raw_tracepoint_writable")
"""Types that it runs with a context alone."""

_STRUCTS = {
    "xdp": "xdp_md",
    "sk_lookup": "bpf_sk_lookup",
    "netfilter": "nf_hook_state",
    "flow_dissector": "bpf_flow_keys",
}
_PACKET_STRUCT = "__sk_buff"

_ARGUMENTS = 12
"""Words that a raw tracepoint takes at most: MAX_BPF_FUNC_ARGS."""

_RAW = "hex:"
_XDP_DATA_END = 4
"""Offset of xdp_md.data_end, which has to be the length of the packet."""


@dataclass(frozen=True)
class Contexts:
    """Contexts for one program, of what somebody typed; none where that is nothing."""

    target: Target
    program: common_pb2.KernelProgram
    texts: Sequence[str]

    @property
    def type(self) -> str:
        """bpftool's name of the program's type."""
        return str(program_type(self.program.type))

    def bytes_for(self, packet: bytes) -> bytes:
        """The context of a run with this packet; empty: none. Raises InvalidArgument."""
        if not self.texts:
            return b""
        if self.type != "xdp" or self._is_raw:
            return self._template
        field = slice(_XDP_DATA_END, _XDP_DATA_END + 4)
        if any(self._template[field]):
            return self._template
        context = bytearray(self._template)
        context[field] = struct.pack(self._order + "I", len(packet))
        return bytes(context)

    def decode(self, data: bytes) -> dict[str, Any]:
        """A context as fields; empty where there is no struct for it."""
        if self.type.startswith("raw_tracepoint") or not data:
            return {}
        try:
            value = self._codec.decode(data)
        except (BpfctlError, ValueError):
            return {}
        return value if isinstance(value, dict) else {"value": value}

    @property
    def _is_raw(self) -> bool:
        return len(self.texts) == 1 and self.texts[0].startswith(_RAW)

    @property
    def _order(self) -> str:
        return ">" if self.target.info().big_endian else "<"

    @cached_property
    def _template(self) -> bytes:
        if self._is_raw:
            from bpfctl.packets import hextext

            return hextext.parse(self.texts[0].removeprefix(_RAW))
        if any(text.startswith(_RAW) for text in self.texts):
            raise InvalidArgument("--ctx", "hex: is the whole context, alone")
        if self.type.startswith("raw_tracepoint"):
            return arguments(self.texts, self._order)
        from bpfctl.btf import BtfValueError

        try:
            return self._codec.parse(" ".join(self.texts))
        except BtfValueError as error:
            raise InvalidArgument("--ctx", str(error)) from None

    @cached_property
    def _codec(self) -> Codec:
        from bpfctl.btf import Codec

        name = _STRUCTS.get(self.type, _PACKET_STRUCT if self.type in PACKET else "")
        for btf in self._sources():
            found = _struct(btf, name) if name else _argument(btf, self.program.name)
            if found:
                return Codec(btf, found)
        raise NotSupported(
            f"fields of the context of program {self.program.name}",
            needs=f"the type is not known; write it as {_RAW}00112233...",
        )

    def _sources(self) -> Iterable[Btf]:
        """The program's own types, then the kernel's."""
        if self.program.btf_id:
            yield self.target.btf.of_id(self.program.btf_id)
        yield self.target.btf.kernel()


def _struct(btf: Btf, name: str) -> int:
    """Id of a struct with members; 0: there is none."""
    from bpfctl.btf import Kind

    return next(
        (each.id for each in btf.find_all(name, Kind.STRUCT) if getattr(each, "members", ())),
        0,
    )


def _argument(btf: Btf, function: str) -> int:
    """Id of the struct that a function takes by its first argument; 0: there is none."""
    from bpfctl.btf import Kind
    from bpfctl.btf.kinds import Function, FunctionPrototype, Reference

    for found in btf.find_all(function, Kind.FUNC):
        assert isinstance(found, Function)
        prototype = btf.type(found.prototype)
        if isinstance(prototype, FunctionPrototype) and prototype.parameters:
            pointer = btf.resolve(prototype.parameters[0][1])
            if isinstance(pointer, Reference) and pointer.kind is Kind.PTR:
                pointed = btf.resolve(pointer.target)
                return pointed.id if pointed.kind is Kind.STRUCT else 0
    return 0


def arguments(texts: Sequence[str], order: str = "<") -> bytes:
    """`arg0=7 arg2=0x10` as the words that a raw tracepoint hands over.

    Raises InvalidArgument.

    >>> arguments(["arg1=2"]).hex()
    '00000000000000000200000000000000'
    """
    words: dict[int, int] = {}
    for text in texts:
        name, _, value = text.partition("=")
        number = name.removeprefix("arg")
        if not number.isdigit() or int(number) >= _ARGUMENTS:
            raise InvalidArgument(
                "--ctx", f"{text!r}: a raw tracepoint has arg0=... to arg{_ARGUMENTS - 1}=..."
            )
        try:
            words[int(number)] = int(value, 0) & (1 << 64) - 1
        except ValueError:
            raise InvalidArgument("--ctx", f"{value!r} is no number") from None
    count = max(words) + 1
    return struct.pack(f"{order}{count}Q", *(words.get(place, 0) for place in range(count)))
