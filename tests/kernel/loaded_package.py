# SPDX-License-Identifier: Apache-2.0
"""A package of `bpf/` in the kernel, for tests: built, set, loaded, read by its BTF."""

from __future__ import annotations

import itertools
import os
import platform
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from bpfctl.btf import Btf, Codec, Kind
from bpfctl.build import TargetFacts, build
from bpfctl.elf import ObjectFile
from bpfctl.package import Package, load_package

from bpfd.kernel import cpus, elf_object, netns, syscall
from bpfd.kernel.constants import AttachType
from bpfd.kernel.info import map_info
from bpfd.kernel.load_options import Constant, LoadOptions, MapSetting
from bpfd.kernel.ring import Ring, Taken
from tests.kernel.clang import objects_folder

_numbers = itertools.count()


def kernel_btf() -> bytes:
    return Path("/sys/kernel/btf/vmlinux").read_bytes()


def object_name(name: str, variant: str | None) -> str:
    """File of a built package among objects that were compiled beforehand."""
    return "-".join(filter(None, ("package", name, variant))) + ".bpf.o"


def sent_btf(name: str, variant: str | None) -> bytes:
    """What the object needs of a kernel without BTF, made beforehand; empty: nothing."""
    folder = objects_folder()
    path = folder / f"{object_name(name, variant)}.btf" if folder is not None else Path()
    return path.read_bytes() if path.is_file() else b""


def types_are_known(name: str) -> bool:
    """Whether the kernel has BTF, or what the package needs of it was made beforehand."""
    return Path("/sys/kernel/btf/vmlinux").exists() or bool(sent_btf(name, None))


def built(package: Package, variant: str | None) -> bytes:
    """The package as an ELF object for this machine's kernel."""
    if (folder := objects_folder()) is not None:
        path = folder / object_name(package.name, variant)
        if not path.exists():
            pytest.skip(f"{package.name} needs the kernel's types, and there is no BTF")
        return path.read_bytes()
    facts = TargetFacts(
        platform.machine(), sys.byteorder == "big", 64 if sys.maxsize > 2**32 else 32, ""
    )
    return build(package.source_path(variant), facts, kernel_btf).object


class LoadedPackage:
    """Programs and maps of one package; close it."""

    def __init__(
        self,
        name: str,
        settings: Mapping[str, str] | None = None,
        *,
        variant: str | None = None,
        take_over: LoadedPackage | None = None,
    ) -> None:
        """`settings` as a user types them; `take_over`: use the maps of that one."""
        package = load_package(name)
        elf = built(package, variant)
        parsed = ObjectFile.parse(elf)
        wanted = package.resolve(settings or {})
        constants = []
        for key, value in wanted.constants.items():
            variable = parsed.variable(key)
            encoded = parsed.encode(key, value)
            constants.append(Constant(variable.map, variable.offset, encoded))
        maps = {key: MapSetting(max_entries=size) for key, size in wanted.sizes.items()}
        if take_over is not None:
            shared = {item.name for item in parsed.maps if item.kind == "map"}
            maps = {key: MapSetting(reuse_fd=take_over.fd(key)) for key in shared}
        options = LoadOptions(
            maps=maps, constants=tuple(constants), kernel_btf=sent_btf(name, variant)
        )
        self.loaded = elf_object.load(name, elf, options)
        self.btf = Btf.parse(parsed.btf)

    def close(self) -> None:
        self.loaded.close()

    def fd(self, map_name: str) -> int:
        return self.loaded.maps[map_name].fd

    def program_fd(self, name: str) -> int:
        return self.loaded.programs[name].fd

    def names(self, enum: str) -> dict[str, int]:
        """The values of an enum of the object."""
        found: Any = self.btf.find(enum, Kind.ENUM)
        return dict(found.values)

    def codecs(self, map_name: str) -> tuple[Codec, Codec]:
        """Codecs of key and value, by the types that the kernel was given."""
        info = map_info(self.fd(map_name))
        assert info.btf_key_type_id, f"map {map_name} has no types"
        assert info.btf_value_type_id, f"map {map_name} has no types"
        return (
            Codec(self.btf, info.btf_key_type_id),
            Codec(self.btf, info.btf_value_type_id),
        )

    def set(self, map_name: str, key: str, value: str) -> None:
        keys, values = self.codecs(map_name)
        syscall.map_update_elem(self.fd(map_name), keys.parse(key), values.parse(value))

    def delete(self, map_name: str, key: str) -> None:
        syscall.map_delete_elem(self.fd(map_name), self.codecs(map_name)[0].parse(key))

    def clear(self, *map_names: str) -> None:
        for name in map_names:
            size = map_info(self.fd(name)).key_size
            while (key := syscall.map_get_next_key(self.fd(name), None, size)) is not None:
                syscall.map_delete_elem(self.fd(name), key)

    def get(self, map_name: str, key: str) -> Any:
        """A value; of a per-CPU map the sum."""
        keys, values = self.codecs(map_name)
        info = map_info(self.fd(map_name))
        stride = cpus.percpu_stride(info)
        size = stride * cpus.possible_count() if stride else info.value_size
        raw = syscall.map_lookup_elem(self.fd(map_name), keys.parse(key), size)
        return values.combine(values.decode_cpus(raw, stride)) if stride else values.decode(raw)

    def counters(self) -> dict[str, tuple[int, int]]:
        """Packets and bytes by reason, without those that are 0."""
        found = {}
        for name, number in self.names("reason").items():
            if name != "REASONS":
                row = self.get("counters", str(number))
                found[name] = (row["packets"], row["bytes"])
        return {name: pair for name, pair in found.items() if any(pair)}

    def run(self, program: str, packet: bytes) -> int:
        """The program's verdict on a packet."""
        return syscall.prog_test_run(self.program_fd(program), packet)[0]


class RingReader:
    """Takes the records of a ring as decoded events; close it."""

    def __init__(self, package: LoadedPackage, ring: str) -> None:
        fd = package.fd(ring)
        record: Any = package.btf.find_variable(f"{ring}_record")
        # const struct TYPE *const volatile: behind qualifiers and one pointer.
        pointer: Any = package.btf.resolve(record.type_id)
        self._codec = Codec(package.btf, pointer.target)
        self._ring = Ring(fd, map_info(fd).max_entries, 64 if sys.maxsize > 2**32 else 32)

    def take(self) -> list[Any]:
        """Every event that waits."""
        events: list[Any] = []
        while self._ring.pending():
            found = self._ring.drain(1 << 20, _copy)
            if found is None:
                break
            size = self._codec.size
            events.extend(self._codec.decode(data.ljust(size, b"\0")) for data in found)
        return events

    def close(self) -> None:
        self._ring.close()


def _copy(taken: Taken) -> list[bytes]:
    records = []
    for view in taken.views:
        at = 0
        while at < len(view):
            (size,) = struct.unpack_from("=I", view, at)
            records.append(bytes(view[at + 8 : at + 8 + size]))
            at += (size + 15) // 8 * 8
    return records


class SpareInterfaces:
    """Interfaces that nothing comes through, in a network namespace of their own; close it.

    BPF_PROG_TEST_RUN of an XDP program that is attached nowhere takes milliseconds, as the
    kernel changes its dispatcher for it each time; attached to any interface, microseconds.
    """

    def __init__(self) -> None:
        self.netns = f"pk-{os.getpid()}-{next(_numbers)}"
        self._links: list[int] = []
        ip("netns", "add", self.netns)

    def attach(self, program_fd: int) -> None:
        """Attach an XDP program to a new interface until close."""
        name = f"spare{len(self._links)}"
        ip("-n", self.netns, "link", "add", name, "type", "veth", "peer", f"{name}-peer")
        with netns.entered(f"/run/netns/{self.netns}"):
            index = socket.if_nametoindex(name)
            self._links.append(syscall.link_create(program_fd, index, AttachType.XDP))

    def close(self) -> None:
        for link in self._links:
            os.close(link)
        ip("netns", "delete", self.netns)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
