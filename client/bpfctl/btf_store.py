# SPDX-License-Identifier: Apache-2.0
"""BTF of a target, fetched once and kept on disk.

The kernel's own is kept by its SHA-256. That of a loaded object is kept by boot and id:
the kernel hands out BTF ids in a circle of 2^31 (idr_alloc_cyclic in kernel/bpf/btf.c), so
that an id means one thing for as long as the machine is up.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bpfctl.config import cache_dir
from bpfctl.errors import CallFailed, NotSupported

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.kernelbtf import Entry
    from bpfctl.rpc import Rpc
    from bpfd.v1 import target_pb2

_KEEP_FILES = 256
"""Files of one boot."""


class BtfStore:
    """Raw and parsed BTF of one target."""

    def __init__(self, rpc: Rpc, info: target_pb2.TargetInfo, target: str = "local") -> None:
        self._rpc = rpc
        self._info = info
        self._target = target
        self._parsed: dict[int, Btf] = {}

    @cached_property
    def _kept(self) -> Entry | None:
        """What this workstation knows of a kernel that has no BTF."""
        from bpfctl.kernelbtf import shipping

        return None if self._info.btf_sha256 else shipping.known(self._info)

    def kernel_sha256(self) -> str:
        """Hex hash of what `kernel_bytes` gives; empty: it would raise NotSupported."""
        return self._kept.sha256 if self._kept else self._info.btf_sha256.hex()

    def kernel_bytes(self) -> bytes:
        """Raw BTF of the target's kernel; of one without, what is kept here of it.

        Raises NotSupported where it is not known.
        """
        wanted = self._info.btf_sha256
        if self._kept is not None:
            return self._kept.read()
        if not wanted:
            from bpfctl.kernelbtf import shipping

            raise NotSupported(
                "BTF of the kernel",
                "4.18",
                "its kernel was built without (CONFIG_DEBUG_INFO_BTF):"
                f" {shipping.how_to_get(self._target)}",
            )
        path = cache_dir() / "btf" / f"{wanted.hex()}.btf"
        data = _read(path)
        if data is not None and len(data) == self._info.btf_size:
            return data
        from bpfd.v1 import target_pb2

        data, _ = self._fetch(target_pb2.GetBtfRequest(module="vmlinux"))
        if hashlib.sha256(data).digest() != wanted:
            raise CallFailed(
                "Target.GetBtf", "OK", "the kernel's BTF has another hash than said"
            )
        _write(path, data)
        return data

    def kernel(self) -> Btf:
        """BTF of the target's kernel."""
        if 0 not in self._parsed:
            from bpfctl.btf import Btf

            self._parsed[0] = Btf.parse(self.kernel_bytes())
        return self._parsed[0]

    def of_module(self, name: str) -> Btf:
        """BTF of a kernel module, over the kernel's; raises NotFound."""
        from bpfctl.btf import Btf
        from bpfd.v1 import target_pb2

        if name == "vmlinux":
            return self.kernel()
        data, split = self._fetch(target_pb2.GetBtfRequest(module=name))
        return Btf.parse(data, self.kernel() if split else None)

    def of_id(self, btf_id: int) -> Btf:
        """BTF of a loaded object, by its kernel id; raises NotFound."""
        if btf_id not in self._parsed:
            from bpfctl.btf import Btf

            data, split = self._id_bytes(btf_id)
            self._parsed[btf_id] = Btf.parse(data, self.kernel() if split else None)
        return self._parsed[btf_id]

    def raw(self, btf_id: int) -> tuple[bytes, bool]:
        """(BTF of a loaded object, whether it builds on the kernel's); raises NotFound."""
        return self._id_bytes(btf_id)

    def _id_bytes(self, btf_id: int) -> tuple[bytes, bool]:
        from bpfd.v1 import target_pb2

        folder = cache_dir() / "btf" / f"boot-{self._info.boot_id or 'unknown'}"
        for split, suffix in ((False, "btf"), (True, "split.btf")):
            data = _read(folder / f"{btf_id}.{suffix}")
            if data:
                return data, split
        data, split = self._fetch(target_pb2.GetBtfRequest(id=btf_id))
        if self._info.boot_id:
            _prune(folder)
            _write(folder / f"{btf_id}.{'split.btf' if split else 'btf'}", data)
        return data, split

    def _fetch(self, request: target_pb2.GetBtfRequest) -> tuple[bytes, bool]:
        pieces = []
        split = False
        with self._rpc.stream(self._rpc.target.GetBtf, request, "Target.GetBtf") as chunks:
            for chunk in chunks:
                pieces.append(chunk.data)
                split = split or chunk.split
        return b"".join(pieces), split


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _prune(folder: Path) -> None:
    """Every load of an object gives a new id: keep the newest files only."""
    try:
        files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in files[: -_KEEP_FILES // 2] if len(files) >= _KEEP_FILES else ():
            path.unlink(missing_ok=True)
    except OSError:
        return


def _write(path: Path, data: bytes) -> None:
    """Keep `data`; a cache that cannot be written is no cache, and no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    except OSError:
        return
