# SPDX-License-Identifier: Apache-2.0
"""Memory of an arena, by offsets, as bytes or as a type of the program's BTF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.errors import InvalidArgument

if TYPE_CHECKING:
    from bpfctl.btf.codec import Codec
    from bpfctl.maps import Map


def is_arena(entry: Map) -> bool:
    """Whether the map is one."""
    from bpfd.v1 import common_pb2

    return entry.info.type == common_pb2.MAP_TYPE_ARENA


def place(text: str, size: int = 0) -> tuple[int, int]:
    """(offset, bytes) of "OFFSET" or "OFFSET+BYTES"; `size` is for the first. Pure.

    Raises InvalidArgument.
    """
    offset, _, length = text.partition("+")
    try:
        found = int(offset, 0), int(length, 0) if length else size
    except ValueError:
        found = -1, 0
    if found[0] < 0 or found[1] <= 0:
        hint = "OFFSET" if size else "OFFSET+BYTES, or OFFSET with --type STRUCT"
        raise InvalidArgument("key", f"{text!r} is not {hint}")
    return found


def codec_of(entry: Map, type_name: str) -> Codec | None:
    """The codec of a type by its name, in the BTF of the programs that use the arena; None
    without a name. Raises InvalidArgument."""
    if not type_name:
        return None
    from bpfctl import event_types
    from bpfctl.btf import Codec

    btf = entry.records_btf
    if btf is None:
        raise InvalidArgument("type", f"no program with BTF uses {entry.name}")
    return Codec(btf, event_types.named(btf, type_name), plain=entry.plain)


def read(entry: Map, offset: int, size: int) -> bytes:
    """Bytes, at most 32 MiB."""
    from bpfd.v1 import maps_pb2

    rpc = entry.target.rpc
    request = maps_pb2.ReadArenaRequest(map=entry.ref, offset=offset, size=size)
    return rpc.call(rpc.maps.ReadArena, request, "Maps.ReadArena").data


def write(entry: Map, offset: int, data: bytes) -> None:
    """Bytes, at most 32 MiB."""
    from bpfd.v1 import maps_pb2

    rpc = entry.target.rpc
    request = maps_pb2.WriteArenaRequest(map=entry.ref, offset=offset, data=data)
    rpc.call(rpc.maps.WriteArena, request, "Maps.WriteArena")


def get(entry: Map, key: str, type_name: str = "") -> Any:
    """What stands at "OFFSET+BYTES" as `hex:...`, or at "OFFSET" as a value of a type."""
    codec = codec_of(entry, type_name)
    offset, size = place(key, codec.size if codec else 0)
    data = read(entry, offset, size)
    return codec.decode(data) if codec else f"hex:{data.hex()}"


def put(entry: Map, key: str, value: str, type_name: str = "") -> None:
    """The other way round."""
    codec = codec_of(entry, type_name)
    if codec is not None:
        data = codec.encode(value, "value")
    else:
        try:
            data = bytes.fromhex(value.removeprefix("hex:"))
        except ValueError:
            raise InvalidArgument(
                "value", f"{value!r} is not hex:DIGITS; for a typed value say --type"
            ) from None
    write(entry, place(key, len(data))[0], data)
