# SPDX-License-Identifier: Apache-2.0
"""Files of the target that symbolisation and tracing front ends read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfctl.rpc import Rpc
    from bpfd.v1 import files_pb2


class Files:
    """/proc, /sys, tracefs and ELF files that processes map; nothing else is readable."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def stat(self, path: str, *, follow: bool = True) -> files_pb2.FileStat:
        """Type, size, build id of the file at an absolute path."""
        from bpfd.v1 import files_pb2

        request = files_pb2.StatRequest(path=path, no_follow=not follow)
        return self._rpc.call(self._rpc.files.Stat, request, "Files.Stat")

    def chunks(self, path: str, offset: int = 0, size: int = 0) -> Iterator[bytes]:
        """Content in pieces, `size` bytes from `offset` on; 0: to the end."""
        from bpfd.v1 import files_pb2

        request = files_pb2.ReadRequest(path=path, offset=offset, size=size)
        with self._rpc.stream(self._rpc.files.Read, request, "Files.Read") as stream:
            for chunk in stream:
                yield chunk.data

    def read(self, path: str, offset: int = 0, size: int = 0) -> bytes:
        """Content, `size` bytes from `offset` on; 0: to the end."""
        return b"".join(self.chunks(path, offset, size))

    def list(self, path: str) -> Iterator[files_pb2.FileStat]:
        """Entries of a folder, in the order of their names."""
        from bpfd.v1 import files_pb2

        request = files_pb2.ListFilesRequest(path=path)
        with self._rpc.stream(self._rpc.files.List, request, "Files.List") as stream:
            for chunk in stream:
                yield from chunk.files
