# SPDX-License-Identifier: Apache-2.0
"""The compressions that kernel images use; every stream may be followed by other bytes."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAX_BYTES = 512 << 20
"""What an image may become; the largest known has 70 MiB."""

_CHUNK = 1 << 20
# Documentation/arch and lib/decompress_unlz4.c of the kernel: blocks of 8 MiB at most.
_LZ4_BLOCK = 8 << 20


class NotCompressed(ValueError):
    """Not a stream of this kind, a damaged one, or one without an end."""


@dataclass(frozen=True)
class Compression:
    """One way that images are compressed."""

    name: str
    """As the kernel's configuration calls it: CONFIG_KERNEL_name in lower case."""
    magic: bytes
    decompress: Callable[[memoryview], bytes]
    """Raises NotCompressed."""


def streams(data: bytes) -> Iterator[tuple[Compression, int]]:
    """Where compressed streams may begin, first those nearest to the start."""
    found = []
    for kind in KINDS:
        at = data.find(kind.magic)
        while at >= 0:
            found.append((at, kind))
            at = data.find(kind.magic, at + 1)
    for at, kind in sorted(found, key=lambda item: item[0]):
        yield kind, at


def _gzip(data: memoryview) -> bytes:
    stream = zlib.decompressobj(31)
    try:
        plain = stream.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise NotCompressed(str(error)) from None
    return _whole(plain, stream.eof)


def _lzma(data: memoryview) -> bytes:
    stream = lzma.LZMADecompressor(memlimit=1 << 30)
    try:
        plain = stream.decompress(data, MAX_BYTES)
    except lzma.LZMAError as error:
        raise NotCompressed(str(error)) from None
    return _whole(plain, stream.eof)


def _bzip2(data: memoryview) -> bytes:
    stream = bz2.BZ2Decompressor()
    try:
        plain = stream.decompress(data, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise NotCompressed(str(error)) from None
    return _whole(plain, stream.eof)


def _zstd(data: memoryview) -> bytes:
    import zstandard

    stream = zstandard.ZstdDecompressor(max_window_size=1 << 30).decompressobj()
    pieces: list[bytes] = []
    size = 0
    try:
        for at in range(0, len(data), _CHUNK):
            pieces.append(stream.decompress(data[at : at + _CHUNK]))
            size += len(pieces[-1])
            if stream.eof or size > MAX_BYTES:
                break
    except zstandard.ZstdError as error:
        raise NotCompressed(str(error)) from None
    return _whole(b"".join(pieces), stream.eof and size <= MAX_BYTES)


def _lz4(data: memoryview) -> bytes:
    """The legacy frame: blocks with their sizes, up to the end of the data."""
    import lz4.block

    pieces: list[bytes] = []
    size, at = 0, 4
    while at + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        # Behind the last block come the image's size, padding or other data.
        if not 0 < length <= len(data) - at or length > _LZ4_BLOCK + (_LZ4_BLOCK >> 4):
            break
        try:
            block = lz4.block.decompress(data[at : at + length], uncompressed_size=_LZ4_BLOCK)
        except lz4.block.LZ4BlockError:
            break
        pieces.append(block)
        at += length
        size += len(block)
        if len(block) < _LZ4_BLOCK or size > MAX_BYTES:
            break
    return _whole(b"".join(pieces), 0 < size <= MAX_BYTES)


def _whole(plain: bytes, ended: bool) -> bytes:
    if not ended:
        raise NotCompressed("cut short, or too large")
    return plain


KINDS = (
    Compression("gzip", b"\x1f\x8b\x08", _gzip),
    Compression("xz", b"\xfd7zXZ\0", _lzma),
    Compression("zstd", b"\x28\xb5\x2f\xfd", _zstd),
    Compression("lz4", b"\x02\x21\x4c\x18", _lz4),
    Compression("bzip2", b"BZh9", _bzip2),
    # Properties and the size of the dictionary, as the kernel's build chooses them.
    Compression("lzma", b"\x5d\0\0\0\x04", _lzma),
    Compression("lzma", b"\x5d\0\0\x80\0", _lzma),
)
