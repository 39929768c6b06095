# SPDX-License-Identifier: Apache-2.0
"""`python -m inside.compress FROM TO`: gzip by libdeflate, 3 % smaller than zlib's best."""

from __future__ import annotations

import ctypes  # noqa: TID251 - a library of the workstation's, not the kernel
import sys
from pathlib import Path

LEVEL = 12
"""libdeflate's best."""


def compress(data: bytes) -> bytes:
    """The data as a gzip file without name and time (RFC 1952)."""
    library = ctypes.CDLL("libdeflate.so.0")
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.libdeflate_alloc_compressor.restype = pointer
    library.libdeflate_gzip_compress_bound.restype = size
    library.libdeflate_gzip_compress_bound.argtypes = (pointer, size)
    library.libdeflate_gzip_compress.restype = size
    library.libdeflate_gzip_compress.argtypes = (pointer, ctypes.c_char_p, size, pointer, size)
    compressor = library.libdeflate_alloc_compressor(LEVEL)
    bound = library.libdeflate_gzip_compress_bound(compressor, len(data))
    buffer = ctypes.create_string_buffer(bound)
    length = library.libdeflate_gzip_compress(compressor, data, len(data), buffer, bound)
    if not length:
        raise MemoryError
    return buffer.raw[:length]


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(compress(Path(sys.argv[1]).read_bytes()))
