# SPDX-License-Identifier: Apache-2.0
"""bpfd.v1.Files: the files of the target that clients may read."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Iterator

from bpfd import work
from bpfd.errors import NotSupported
from bpfd.interceptor import Context
from bpfd.kernel import file_reader
from bpfd.streams import batched, from_blocking
from bpfd.v1 import files_pb2, files_pb2_grpc


class FilesService(files_pb2_grpc.FilesServicer):
    """Looks and reads; the rules are in `bpfd.kernel.readable`."""

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir

    async def Stat(
        self, request: files_pb2.StatRequest, context: Context
    ) -> files_pb2.FileStat:
        found = await work.run(file_reader.status, request.path, follow=not request.no_follow)
        return _message(found)

    async def Read(
        self, request: files_pb2.ReadRequest, context: Context
    ) -> AsyncIterator[files_pb2.ReadChunk]:
        def read() -> Iterator[bytes]:
            return file_reader.read(request.path, request.offset, request.size)

        async for data in from_blocking(read):
            yield files_pb2.ReadChunk(data=data)

    async def List(
        self, request: files_pb2.ListFilesRequest, context: Context
    ) -> AsyncIterator[files_pb2.ListFilesChunk]:
        def read() -> Iterator[list[file_reader.Status]]:
            return batched(file_reader.folder(request.path), 512)

        async for batch in from_blocking(read):
            yield files_pb2.ListFilesChunk(files=map(_message, batch))

    async def Storage(
        self, request: files_pb2.StorageRequest, context: Context
    ) -> files_pb2.StorageResponse:
        found = await work.run(file_reader.room, self._state_dir)
        return files_pb2.StorageResponse(
            path=self._state_dir,
            total_bytes=found.total,
            free_bytes=found.free,
            read_only=found.read_only,
        )

    async def Peek(
        self, request: files_pb2.PeekRequest, context: Context
    ) -> files_pb2.PeekResponse:
        raise NotSupported("Files.Peek", needs="a newer bpfd")

    async def Poke(
        self, request: files_pb2.PokeRequest, context: Context
    ) -> files_pb2.PokeResponse:
        raise NotSupported("Files.Poke", needs="a newer bpfd")


def _message(found: file_reader.Status) -> files_pb2.FileStat:
    status = found.status
    message = files_pb2.FileStat(
        path=_text(found.path),
        type=_type(status.st_mode),
        size=status.st_size,
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        inode=status.st_ino,
        device=status.st_dev,
        link_target=_text(found.link_target),
        build_id=found.build_id,
    )
    message.modified_at.FromNanoseconds(status.st_mtime_ns)
    return message


def _type(mode: int) -> files_pb2.FileType.ValueType:
    if stat.S_ISREG(mode):
        return files_pb2.FILE_TYPE_REGULAR
    if stat.S_ISDIR(mode):
        return files_pb2.FILE_TYPE_DIRECTORY
    if stat.S_ISLNK(mode):
        return files_pb2.FILE_TYPE_SYMLINK
    return files_pb2.FILE_TYPE_OTHER


def _text(name: str) -> str:
    """Names of files are bytes; protobuf takes sound Unicode only."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
