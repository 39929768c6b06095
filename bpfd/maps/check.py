# SPDX-License-Identifier: Apache-2.0
"""Whether keys and values fit a map, before anything is done; and what errors mean after."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from bpfd.errors import (
    BpfdError,
    InvalidArgument,
    KernelError,
    LimitExceeded,
    NotFound,
    NotSupported,
    PermissionMissing,
)
from bpfd.kernel import map_io
from bpfd.kernel.constants import ENOTSUPP, MapType, name_of
from bpfd.kernel.cpus import percpu_stride, possible_count
from bpfd.kernel.info import MapInfo, fdinfo, map_info
from bpfd.kernel.map_io import Shape

MAX_ENTRIES, MAX_BYTES = 1 << 20, 32 << 20
"""Of one batch."""

KEYLESS = frozenset({MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER})

_WITHOUT_ENTRIES: dict[int, str] = {
    MapType.RINGBUF: "Events.Subscribe reads it",
    MapType.USER_RINGBUF: "Maps.Submit writes into it, and only programs read it",
    MapType.ARENA: "it is memory without entries; Maps.ReadArena reads it",
}

_UNREADABLE: dict[int, str] = {
    MapType.PERF_EVENT_ARRAY: "Events.Subscribe reads what programs write to its events",
    MapType.CGROUP_ARRAY: "the kernel does not tell which cgroups are in it",
    MapType.XSKMAP: "the kernel does not tell which sockets are in it",
}
"""Types that are written but not read."""

_COOKIES = frozenset({MapType.SOCKMAP, MapType.SOCKHASH, MapType.REUSEPORT_SOCKARRAY})
"""Of a socket the kernel tells the cookie, where the values have 8 bytes for it."""


@dataclass(frozen=True)
class OpenMap:
    """A map while one call works on it."""

    fd: int
    id: int
    name: str
    type_name: str
    shape: Shape
    stride: int
    """Bytes between the values of two CPUs; 0: not a per-CPU map."""

    def __str__(self) -> str:
        return f"map {self.name}"

    def key_count(self, field: str, keys: bytes) -> int:
        """Number of the keys. Raises InvalidArgument, LimitExceeded or NotSupported."""
        self.check_entries()
        size = self.shape.key_size
        if not size:
            if keys:
                raise InvalidArgument(field, f"{self} is a {self.type_name} and has no keys")
            return 0
        count, rest = divmod(len(keys), size)
        if rest or not count:
            raise InvalidArgument(
                field, f"{len(keys)} bytes; keys of {self} have {size} bytes each"
            )
        if count > MAX_ENTRIES:
            raise LimitExceeded("entries of one batch", MAX_ENTRIES, asked=count)
        if len(keys) > MAX_BYTES:
            raise LimitExceeded("bytes of one batch", MAX_BYTES, asked=len(keys))
        return count

    def check_entries(self) -> None:
        """Raises NotSupported for a map that has no entries."""
        if self.shape.type in _WITHOUT_ENTRIES:
            needs = _WITHOUT_ENTRIES[self.shape.type]
            raise NotSupported(f"entries of {self}, a {self.type_name}", needs=needs)

    def check_readable(self) -> None:
        """Raises NotSupported for a map whose values the kernel does not give back."""
        self.check_entries()
        kind, needs = self.shape.type, _UNREADABLE.get(self.shape.type, "")
        if kind in _COOKIES and self.shape.value_size != 8:
            needs = (
                "it is made with values of 4 bytes; with 8 (__u64) it shows sockets' cookies"
            )
        if needs:
            raise NotSupported(f"entries of {self}, a {self.type_name}", needs=needs)

    def check_new_keys(self, field: str, keys: bytes) -> None:
        """Raises InvalidArgument for keys that can never be in the map."""
        if self.shape.type in map_io.INDEXED and self.shape.key_size == 4:
            last = max(map_io.indexes(keys), default=0)
            if last >= self.shape.max_entries:
                limit = self.shape.max_entries - 1
                raise InvalidArgument(
                    field, f"index {last} is beyond the last one of {self}, {limit}"
                )
        if self.shape.type == MapType.LPM_TRIE:
            most = (self.shape.key_size - 4) * 8
            for length in map_io.prefix_lengths(keys, self.shape.key_size):
                if length > most:
                    raise InvalidArgument(
                        field, f"a prefix of {length} bits; {self} has {most} at most"
                    )

    def check_values(self, field: str, values: bytes, count: int) -> None:
        """Raises InvalidArgument or LimitExceeded."""
        width = self.shape.value_size
        if len(values) != count * width:
            each = f"values of {self} have {width} bytes each"
            if self.stride:
                cpus = possible_count()
                each += f" ({cpus} CPUs of {self.stride}, padding included)"
            raise InvalidArgument(field, f"{len(values)} bytes for {count} entries; {each}")
        if len(values) > MAX_BYTES:
            raise LimitExceeded("bytes of one batch", MAX_BYTES, asked=len(values))

    def check_answer(self, count: int) -> None:
        """Raises LimitExceeded when the values asked for are too many for one answer."""
        size = count * self.shape.value_size
        if count > MAX_ENTRIES:
            raise LimitExceeded("entries of one batch", MAX_ENTRIES, asked=count)
        if size > MAX_BYTES:
            hint = "ask for fewer keys, or dump the map"
            raise LimitExceeded("bytes of one answer", MAX_BYTES, asked=size, hint=hint)

    def error(self, operation: str, number: int, done: int = 0, key: bytes = b"") -> BpfdError:
        """What an errno of the kernel means for this map, after `done` entries."""
        before = f"; {done} entries before it were done" if done else ""
        if number in (errno.E2BIG, errno.ENOSPC):
            hint = "delete entries, or load it with a larger max_entries"
            return LimitExceeded(str(self), self.shape.max_entries, done=done, hint=hint)
        if number == errno.EEXIST:
            return InvalidArgument("keys", f"key {key.hex()} exists in {self}{before}")
        if number == errno.ENOENT:
            return NotFound("entry", f"{self} key {key.hex()}", hint=before.lstrip("; "))
        if number in (ENOTSUPP, errno.EOPNOTSUPP):
            return NotSupported(f"{operation} of {self}, a {self.type_name}")
        if number == errno.EPERM:
            if fdinfo(self.fd).get("frozen") == "1":
                return InvalidArgument("map", f"{self} is frozen: nobody can write it any more")
            return PermissionMissing(
                f"a {self.type_name} that user space may access",
                "one made without that right",
                f"{operation} of {self}",
            )
        if number == errno.EINVAL:
            return InvalidArgument(
                "keys", f"the kernel refuses {operation} of key {key.hex()} of {self}{before}"
            )
        return KernelError(f"{operation} of {self}", number, before.lstrip("; "))


def open_map(fd: int, member: tuple[str, str] | None) -> OpenMap:
    """Describes the map behind an fd, which stays the caller's."""
    info: MapInfo = map_info(fd)
    name = member[1] if member else info.name.decode(errors="replace") or str(info.id)
    type_name = name_of(MapType, info.type) or f"map of type {info.type}"
    return OpenMap(fd, info.id, name, type_name, map_io.shape(info), percpu_stride(info))
