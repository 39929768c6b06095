# SPDX-License-Identifier: Apache-2.0
"""Keys and values of maps that are things of the target, as people name them.

keys of storage maps     pid:123   socket:123/7 (pid and fd)   cgroup:/x   path:/f
prog_array               OBJECT/PROGRAM, PROGRAM of the map's own object, id, pin
array_of_maps, ...       OBJECT/MAP, MAP, id, pin; `map:` may stand before
cgroup_array             path, or `cgroup:` and a path
sockmap, xskmap, ...     socket:123/7
devmap, devmap_hash      eth0   eth0,netns=blue,program=ddos/out   ifindex:7
cpumap                   192   192,program=ddos/on_cpu
perf_event_array         cpu-clock   cpu-clock,pid=7   1:0 (type:config)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from bpfctl.errors import InvalidArgument

if TYPE_CHECKING:
    from bpfctl.target import Target
    from bpfd.v1 import attach_pb2, common_pb2, maps_pb2

_KEYS = {
    "TASK_STORAGE": "pid",
    "SK_STORAGE": "socket",
    "CGRP_STORAGE": "cgroup",
    "INODE_STORAGE": "path",
}
_CGROUP_IDS = ("CGROUP_STORAGE", "PERCPU_CGROUP_STORAGE")

_VALUES = {
    "PROG_ARRAY": "program",
    "ARRAY_OF_MAPS": "map",
    "HASH_OF_MAPS": "map",
    "CGROUP_ARRAY": "cgroup",
    "SOCKMAP": "socket",
    "SOCKHASH": "socket",
    "REUSEPORT_SOCKARRAY": "socket",
    "XSKMAP": "socket",
    "DEVMAP": "device",
    "DEVMAP_HASH": "device",
    "CPUMAP": "cpu",
    "PERF_EVENT_ARRAY": "perf_event",
}

_KEY_HINTS = {
    "pid": "pid:NUMBER, a process",
    "socket": "socket:PID/FD, what a process has under that descriptor",
    "cgroup": "cgroup:PATH, absolute or below the cgroup2 mount",
    "path": "path:FILE, an absolute path on the target",
}


def _type_name(info: common_pb2.KernelMap) -> str:
    from bpfd.v1 import common_pb2

    try:
        return common_pb2.MapType.Name(info.type).removeprefix("MAP_TYPE_")
    except ValueError:
        return ""


def key_kind(info: common_pb2.KernelMap) -> str:
    """The field of `KeyRef` that keys of a map are; empty: its keys are bytes."""
    return _KEYS.get(_type_name(info), "")


def value_kind(info: common_pb2.KernelMap) -> str:
    """The field of `ValueRef` that values of a map are; empty: its values are bytes."""
    return _VALUES.get(_type_name(info), "")


def key_ref(info: common_pb2.KernelMap, key: object) -> maps_pb2.KeyRef | None:
    """The key by its name; None: it is bytes, to be read by BTF. Raises InvalidArgument."""
    from bpfd.v1 import maps_pb2

    if isinstance(key, maps_pb2.KeyRef):
        return key
    kind = key_kind(info)
    if not kind:
        if _type_name(info) not in _CGROUP_IDS or not str(key).startswith("cgroup:"):
            return None
        kind = "cgroup"
    marker, _, rest = str(key).partition(":")
    text = rest if marker == kind else str(key)
    ref = maps_pb2.KeyRef()
    if kind == "pid":
        ref.pid = _number(text, "key", _KEY_HINTS[kind])
    elif kind == "socket":
        _socket(ref.socket, text, "key")
    elif not text:
        raise InvalidArgument("key", f"{key!r} is not {_KEY_HINTS[kind]}")
    elif kind == "cgroup":
        ref.cgroup.path = text
    else:
        if not text.startswith("/"):
            raise InvalidArgument("key", f"{key!r} is not {_KEY_HINTS[kind]}")
        ref.path = text
    return ref


def key_text(ref: maps_pb2.KeyRef) -> str:
    """As `key_ref` reads it."""
    kind = ref.WhichOneof("ref")
    if kind == "pid":
        return f"pid:{ref.pid}"
    if kind == "socket":
        return f"socket:{ref.socket.pid}/{ref.socket.fd}"
    return (
        f"cgroup:{ref.cgroup.path or ref.cgroup.id}" if kind == "cgroup" else f"path:{ref.path}"
    )


def value_ref(target: Target, info: common_pb2.KernelMap, value: Any) -> maps_pb2.ValueRef:
    """The value by its name, or by the id that a dump shows. Raises InvalidArgument and
    NotFound."""
    from bpfd.v1 import common_pb2, maps_pb2

    if isinstance(value, maps_pb2.ValueRef):
        return value
    kind = value_kind(info)
    if kind in ("program", "map"):
        if isinstance(value, common_pb2.ProgramRef):
            return maps_pb2.ValueRef(program=value)
        if isinstance(value, common_pb2.MapRef):
            return maps_pb2.ValueRef(map=value)
        text = str(value).removeprefix(f"{kind}:")
        if kind == "program":
            return maps_pb2.ValueRef(program=_program(target, info, text))
        return maps_pb2.ValueRef(map=_map(target, info, text))
    ref = maps_pb2.ValueRef()
    if kind == "cgroup":
        ref.cgroup.path = str(value).removeprefix("cgroup:")
    elif kind == "socket":
        text = str(value)
        if not text.startswith("socket:"):
            raise InvalidArgument("value", f"{text!r} is not {_KEY_HINTS['socket']}")
        _socket(ref.socket, text.removeprefix("socket:"), "value")
    elif kind == "device":
        _device(target, info, ref.device, value)
    elif kind == "cpu":
        _cpu(target, info, ref.cpu, value)
    else:
        _perf_event(ref.perf_event, str(value))
    return ref


def parts_of(raw: bytes, kind: str, byteorder: Literal["little", "big"]) -> dict[str, int]:
    """The value of a devmap or cpumap: what it holds, and the id of its program or 0."""
    return {
        "ifindex" if kind == "device" else "qsize": int.from_bytes(raw[:4], byteorder),
        "prog_id": int.from_bytes(raw[4:8], byteorder),
    }


def id_in(value: Any, kind: str) -> int:
    """The id of the program or map in a value that was read; 0: none."""
    if kind in ("program", "map"):
        return value if isinstance(value, int) else 0
    parts = _parts(value, kind)
    return parts[1] if parts is not None else 0


def _program(target: Target, info: common_pb2.KernelMap, text: str) -> common_pb2.ProgramRef:
    """A bare name is a program of the map's own object, where that has one."""
    from bpfd.v1 import common_pb2

    if info.object and text.isidentifier():
        there = target.object(info.object).message.programs
        if any(program.name == text for program in there):
            member = common_pb2.ObjectMember(object=info.object, name=text)
            return common_pb2.ProgramRef(member=member)
    return target.program_ref(text)


def _map(target: Target, info: common_pb2.KernelMap, text: str) -> common_pb2.MapRef:
    from bpfd.v1 import common_pb2

    if info.object and text.isidentifier():
        there = target.object(info.object).message.maps
        if any(entry.name == text for entry in there):
            member = common_pb2.ObjectMember(object=info.object, name=text)
            return common_pb2.MapRef(member=member)
    return target.map_ref(text)


def _number(text: str, field: str, hint: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 32):
        raise InvalidArgument(field, f"{text!r} is not {hint}")
    return int(text)


def _socket(message: attach_pb2.SocketOfProcess, text: str, field: str) -> None:
    pid, slash, fd = text.partition("/")
    hint = _KEY_HINTS["socket"]
    if not slash:
        raise InvalidArgument(field, f"{text!r} is not {hint}")
    message.pid, message.fd = _number(pid, field, hint), _number(fd, field, hint)


def _options(text: str, known: Mapping[str, Callable[[str], None]], what: str) -> str:
    """Hands the options behind the first comma out; gives what stands before it."""
    first, *options = text.split(",")
    for option in options:
        name, equals, rest = option.partition("=")
        if not equals or name not in known:
            choices = ", ".join(f"{each}=..." for each in known)
            raise InvalidArgument("value", f"{option!r}: behind {what} stands {choices}")
        known[name](rest)
    return first


def _parts(value: Any, kind: str) -> tuple[int, int] | None:
    """(number, program id) of a value as a dump shows it; None: it is text."""
    if isinstance(value, int):
        return value, 0
    if not isinstance(value, Mapping):
        return None
    number = value.get("ifindex" if kind == "device" else "qsize", 0)
    return int(number), int(value.get("prog_id", 0))


def _device(
    target: Target, info: common_pb2.KernelMap, message: maps_pb2.DeviceValue, value: Any
) -> None:
    if (parts := _parts(value, "device")) is not None:
        message.interface.ifindex = parts[0]
        if parts[1]:
            message.program.id = parts[1]
        return

    def netns(text: str) -> None:
        where = message.interface.netns
        if text.startswith("pid:"):
            where.pid = _number(text[4:], "value", "netns=pid:NUMBER")
        else:
            setattr(where, "path" if text.startswith("/") else "name", text)

    def program(text: str) -> None:
        message.program.CopyFrom(_program(target, info, text))

    first = _options(str(value), {"netns": netns, "program": program}, "an interface")
    marker, _, rest = first.partition(":")
    if marker in ("ifindex", ""):
        message.interface.ifindex = _number(rest, "value", "ifindex:NUMBER")
    elif first.isdigit():
        message.interface.ifindex = _number(first, "value", "an interface")
    elif marker == "name" and rest:
        message.interface.name = rest
    else:
        message.interface.name = first
    if not message.interface.name and not message.interface.ifindex:
        raise InvalidArgument("value", f"{value!r} names no interface")


def _cpu(
    target: Target, info: common_pb2.KernelMap, message: maps_pb2.CpuValue, value: Any
) -> None:
    if (parts := _parts(value, "cpu")) is not None:
        message.queue_size = parts[0]
        if parts[1]:
            message.program.id = parts[1]
        return

    def program(text: str) -> None:
        message.program.CopyFrom(_program(target, info, text))

    first = _options(str(value), {"program": program}, "the size of a queue")
    message.queue_size = _number(
        first.removeprefix("qsize="), "value", "the size of a queue, as in 192,program=NAME"
    )


def _perf_event(message: attach_pb2.PerfEvent, text: str) -> None:
    from bpfctl.attachpoint.subjects import PERF_EVENTS

    def pid(rest: str) -> None:
        message.pid = _number(rest, "value", "pid=NUMBER")

    def cpu(rest: str) -> None:
        message.cpus.append(_number(rest, "value", "cpu=NUMBER"))

    name = _options(text, {"pid": pid, "cpu": cpu}, "an event")
    if name in PERF_EVENTS:
        message.type, message.config = PERF_EVENTS[name]
        return
    kind, colon, config = name.partition(":")
    try:
        if not colon:
            raise ValueError
        message.type, message.config = int(kind, 0), int(config, 0)
    except ValueError:
        from bpfctl.attachpoint.text import near

        raise InvalidArgument(
            "value",
            f"{name!r} is no perf event{near(name, PERF_EVENTS) or '; say TYPE:CONFIG'}",
        ) from None
