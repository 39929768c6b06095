# SPDX-License-Identifier: Apache-2.0
"""Programs, network namespaces and cgroups for the tests of hooks."""

from __future__ import annotations

import fcntl
import functools
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from bpfd import errors
from bpfd.attach.attachment import Program
from bpfd.features import PROBES
from bpfd.kernel import cgroup, elf_object, info, netns, syscall
from bpfd.kernel.constants import Cmd
from bpfd.kernel.load_options import Loaded, LoadOptions
from bpfd.v1 import attach_pb2, common_pb2
from tests.clang import CLANG
from tests.kernel import clang

HITS = [
    "xdp",
    "xdp_drop",
    "tc",
    "tc_drop",
    "cgroup",
    "sock_ops",
    "tracepoint",
    "raw_tracepoint",
    "tp_btf",
    "uprobe",
    "uretprobe",
    "sample",
    "other",
    "cookie",
]
"""enum hit of the source, in its order."""

needs_root = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(
        not CLANG,
        reason="needs clang",
    ),
]


def compiled() -> bytes:
    """The programs as an ELF object, those that this kernel can have."""
    return clang.compiled("hooks", *_left_out())


@functools.cache
def _left_out() -> tuple[str, ...]:
    """Defines that leave out what this kernel does not have."""
    try:
        PROBES["tp_btf"].run()
        defines: tuple[str, ...] = ()
    except OSError:
        defines = ("WITHOUT_TP_BTF",)
    try:
        elf_object.load("hooks", clang.compiled("hooks", *defines), LoadOptions()).close()
    except errors.VerifierRejected:
        defines = ("WITHOUT_RAW_COOKIES", *defines)
    return defines


BY_KERNEL_TYPES = ("tp_btf", "tp_btf_other", "tp_btf_exit")
"""Programs that only kernels with BTF can attach."""


class Programs:
    """The programs in the kernel, and their counters."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        syscall.map_update_elem(
            loaded.maps["only"].fd, struct.pack("=I", 0), struct.pack("=I", os.getpid())
        )

    def __getitem__(self, name: str) -> Program:
        if name in BY_KERNEL_TYPES and name not in self._loaded.programs:
            pytest.skip("this kernel has no tp_btf: it was built without BTF")
        found = self._loaded.programs[name]
        return Program(found.fd, found.id, name, found.type, found.expected_attach_type)

    def hits(self, which: str) -> int:
        """How often the program of this kind ran."""
        key = struct.pack("=I", HITS.index(which))
        (count,) = struct.unpack(
            "=Q", syscall.map_lookup_elem(self._loaded.maps["hits"].fd, key, 8)
        )
        return int(count)

    def clear(self) -> None:
        """Every counter 0."""
        for index in range(len(HITS)):
            fd = self._loaded.maps["hits"].fd
            syscall.map_update_elem(fd, struct.pack("=I", index), bytes(8))

    def count_only(self, pid: int) -> None:
        """Tracing programs count this process; 0: all."""
        fd = self._loaded.maps["only"].fd
        syscall.map_update_elem(fd, struct.pack("=I", 0), struct.pack("=I", pid))

    def links(self) -> list[int]:
        """Kernel links that run one of these programs."""
        own = {each.id for each in self._loaded.programs.values()}
        found = []
        for number in syscall.ids(Cmd.LINK_GET_NEXT_ID):
            try:
                fd = syscall.fd_by_id(Cmd.LINK_GET_FD_BY_ID, number)
            except OSError:
                continue
            try:
                if info.link_info(fd).prog_id in own:
                    found.append(number)
            finally:
                os.close(fd)
        return found

    def links_become(self, count: int) -> bool:
        """Waits for links that were pinned: they go a moment after their pin."""
        deadline = time.monotonic() + 10
        while len(self.links()) != count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True


def open_fds() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def programs() -> Iterator[Programs]:
    """The programs, loaded; fails when a link or a file of this process is left."""
    elf = compiled()
    before = open_fds()
    loaded = elf_object.load("hooks", elf, LoadOptions())
    found = Programs(loaded)
    try:
        yield found
        clean = found.links_become(0)
    finally:
        loaded.close()
    assert clean, "links are left"
    assert open_fds() <= before, "files are left open"


@dataclass(frozen=True)
class Pair:
    """Two network namespaces joined by a veth pair, far away and near."""

    far: str
    near: str
    address: str = "10.211.7.2"

    def interface(self) -> common_pb2.Interface:
        """The near end, named in its namespace."""
        netns_reference = common_pb2.Netns(name=self.near)
        return common_pb2.Interface(name="hk0", netns=netns_reference)

    def receiver(self) -> socket.socket:
        """A UDP socket in the near namespace."""
        with netns.entered(f"/run/netns/{self.near}"):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((self.address, 7777))
            sock.settimeout(10)
            return sock

    def send(self, text: bytes) -> None:
        """One UDP packet from far to near; it has passed or is dropped on return."""
        with netns.entered(f"/run/netns/{self.far}"):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.sendto(text, (self.address, 7777))

    def indexes(self) -> dict[str, int]:
        """Interfaces of the near namespace."""
        with netns.entered(f"/run/netns/{self.near}"):
            return {name: index for index, name in socket.if_nameindex()}

    def ip(self, *words: str) -> str:
        """Runs ip(8) in the near namespace."""
        return _run("ip", "-n", self.near, *words)

    def tc(self, *words: str) -> str:
        """Runs tc(8) in the near namespace."""
        return _run("tc", "-n", self.near, *words)


def _run(*words: str, stdin: str = "") -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True, input=stdin)
    return done.stdout


_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 1 << 6  # linux/sockios.h, net/if.h


def _wait_for_link(namespace: str, card: str) -> None:
    """The kernel takes a moment to see that the other end is up; till then it drops packets."""
    with netns.entered(f"/run/netns/{namespace}"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    deadline = time.monotonic() + 30
    with sock:
        while True:
            answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16s24x", card.encode()))
            if struct.unpack_from("=H", answer, 16)[0] & _IFF_RUNNING:
                return
            assert time.monotonic() < deadline, f"{card} has no link"
            time.sleep(0.01)


@contextmanager
def veth_pair() -> Iterator[Pair]:
    """Makes the namespaces and removes them; few processes, for each takes long on a board."""
    tag = f"{os.getpid()}-{os.urandom(2).hex()}"
    pair = Pair(f"hk-far-{tag}", f"hk-near-{tag}")
    near = "02:00:00:00:07:02"
    end = f"netns {pair.near} address {near}"
    try:
        for name in (pair.far, pair.near):
            _run("ip", "netns", "add", name)
        _run("ip", *f"link add hk1 netns {pair.far} type veth peer hk0 {end}".split())
        for name, card, host in ((pair.far, "hk1", 1), (pair.near, "hk0", 2)):
            lines = [f"addr add 10.211.7.{host}/24 dev {card}"]
            lines += [f"link set {card} up", "link set lo up"]
            if name == pair.far:
                lines.append(f"neigh replace {pair.address} lladdr {near} dev hk1")
            _run("ip", "-n", name, "-batch", "-", stdin="\n".join(lines))
        _wait_for_link(pair.far, "hk1")
        _wait_for_link(pair.near, "hk0")
        yield pair
    finally:
        words = ["ip", "-force", "-batch", "-"]
        lines = [f"netns del {name}" for name in (pair.far, pair.near)]
        subprocess.run(
            words, check=False, capture_output=True, text=True, input="\n".join(lines)
        )


@contextmanager
def own_cgroup() -> Iterator[str]:
    """An empty cgroup2 directory, removed afterwards."""
    try:
        root = cgroup.root()
    except FileNotFoundError:
        pytest.skip("no cgroup2 is mounted")
    path = f"{root}/hk-{os.getpid()}-{os.urandom(2).hex()}"
    os.mkdir(path)
    try:
        yield path
    finally:
        os.rmdir(path)


def in_cgroup(path: str, script: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code as a process of the cgroup."""
    code = f"open({path + '/cgroup.procs'!r}, 'w').write('0')\n{script}"
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def xdp(
    pair: Pair, mode: attach_pb2.XdpMode.ValueType = attach_pb2.XDP_MODE_UNSPECIFIED
) -> attach_pb2.AttachPoint:
    """The near end's XDP hook."""
    return attach_pb2.AttachPoint(xdp=attach_pb2.Xdp(interface=pair.interface(), mode=mode))
