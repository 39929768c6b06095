# SPDX-License-Identifier: Apache-2.0
"""Kernel images as bootloaders take them: BTF and the build they carry. Pure.

Image of arm64 and riscv, raw; bzImage of x86; zImage of arm; the EFI zboot form of any of
them; Image.gz and the like; U-Boot's uImage; boot.img of Android. What is compressed may be
so by gzip, xz, lzma, zstd, lz4 or bzip2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bpfctl.btf.parse import HEADER_BYTES, MAGIC

from . import compression
from .errors import KernelBtfError
from .identity import KernelBuild, banner

_SMALLEST_KERNEL = 1 << 20
_SMALLEST_BTF = 4 << 10
_MAX_STREAMS = 64
"""Starts of streams that are tried; their magic numbers also stand in code and data."""


@dataclass(frozen=True)
class Kernel:
    """What an image says of its kernel."""

    build: KernelBuild
    btf: bytes
    """Raw; empty: the kernel was built without."""


def read(data: bytes) -> Kernel:
    """Look into an image; raises KernelBtfError when there is no kernel in it."""
    machine = architecture_of(data)
    best: Kernel | None = None
    for plain in _candidates(data):
        build = banner(plain)
        btf = find_btf(plain)
        if build is None and not btf:
            continue
        found = Kernel((build or KernelBuild()).completed(KernelBuild(machine)), btf)
        if btf:
            return found
        best = best or found
    if best is None:
        raise KernelBtfError(
            "there is no Linux kernel in this file",
            "give a kernel image (vmlinuz, Image, zImage, boot.img), a vmlinux, raw BTF, a"
            " Debian package of these, or an archive of BTFHub (.btf.tar.xz)",
        )
    return best


def is_image(data: bytes) -> bool:
    """Whether the file begins as an image, or as a compressed one."""
    return bool(architecture_of(data)) or any(
        data.startswith(magic)
        for magic in (
            b"MZ",
            b"ANDROID!",
            b"\x27\x05\x19\x56",
            *(k.magic for k in compression.KINDS),
        )
    )


def architecture_of(data: bytes) -> str:
    """The architecture by an image's header; empty: it does not say.

    Documentation of the kernel: arch/arm64/booting, arch/riscv/boot-image-header,
    arch/x86/boot; of zImage arch/arm/boot/compressed/head.S.
    """
    if data[0x38:0x3C] == b"ARM\x64":
        return "arm64"
    if data[0x38:0x3C] == b"RSC\x05":
        return "riscv"
    if data[0x202:0x206] == b"HdrS":
        return "x86"
    if data[0x24:0x28] in (b"\x18\x28\x6f\x01", b"\x01\x6f\x28\x18"):
        return "arm"
    return ""


def find_btf(data: bytes) -> bytes:
    """The largest whole BTF blob somewhere in `data`; empty: there is none."""
    best = (0, 0)
    for order, magic in (("<", MAGIC.to_bytes(2, "little")), (">", MAGIC.to_bytes(2, "big"))):
        # Version 1, no flags.
        start = magic + b"\1\0"
        at = data.find(start)
        while at >= 0:
            size = _btf_size(data, at, order)
            best = max(best, (size, at))
            at = data.find(start, at + max(size, 1))
    size, at = best
    return data[at : at + size]


def _btf_size(data: bytes, at: int, order: str) -> int:
    """Bytes of the BTF at a place; 0: it is none, or only that of something small."""
    if at + HEADER_BYTES > len(data):
        return 0
    header, types_at, types, strings_at, strings = struct.unpack_from(
        f"{order}5I", data, at + 4
    )
    # As pahole and the kernel's build write it: types, then strings, which begin and end
    # with a zero.
    size = int(header + strings_at + strings)
    if header != HEADER_BYTES or types_at or strings_at < types or types % 4:
        return 0
    if types < _SMALLEST_BTF or strings < _SMALLEST_BTF or at + size > len(data):
        return 0
    begin = at + header + strings_at
    return size if not data[begin] and not data[at + size - 1] else 0


def _candidates(data: bytes) -> Iterator[bytes]:
    """What may be the kernel proper: what the headers say, then whatever unpacks."""
    view = memoryview(data)
    if data[:4] == b"MZ\0\0" and data[4:8] == b"zimg":
        yield from _zboot(view)
    elif data[:8] == b"ANDROID!":
        yield from _android(view)
    elif data[0x202:0x206] == b"HdrS":
        yield from _bzimage(view)
    yield data
    for index, (kind, at) in enumerate(compression.streams(data)):
        if index >= _MAX_STREAMS:
            return
        yield from _unpacked(kind, view[at:])


def _unpacked(kind: compression.Compression, data: memoryview) -> Iterator[bytes]:
    try:
        plain = kind.decompress(data)
    except compression.NotCompressed:
        return
    if len(plain) < _SMALLEST_KERNEL:
        return
    # A zImage or an EFI zboot image may be compressed once more, and a boot.img holds one.
    if architecture_of(plain) in ("", "arm64", "riscv") and plain[4:8] != b"zimg":
        yield plain
    else:
        yield from _candidates(plain)


def _zboot(view: memoryview) -> Iterator[bytes]:
    """drivers/firmware/efi/libstub/zboot-header.S: offset, size and kind of the payload."""
    offset, size = struct.unpack_from("<II", view, 8)
    yield from _streams_of(view[offset : offset + size])


def _bzimage(view: memoryview) -> Iterator[bytes]:
    """Fields setup_sects, payload_offset and payload_length of the setup header."""
    sectors = view[0x1F1] or 4
    offset, size = struct.unpack_from("<II", view, 0x248)
    start = (sectors + 1) * 512 + offset
    yield from _streams_of(view[start : start + size])


def _android(view: memoryview) -> Iterator[bytes]:
    """system/tools/mkbootimg/include/bootimg/bootimg.h: the kernel is behind one page."""
    size, version = struct.unpack_from("<I", view, 8)[0], struct.unpack_from("<I", view, 40)[0]
    page = 4096 if version >= 3 else struct.unpack_from("<I", view, 36)[0]
    kernel = bytes(view[page : page + size])
    if kernel:
        yield from _candidates(kernel)


def _streams_of(payload: memoryview) -> Iterator[bytes]:
    for kind in compression.KINDS:
        if payload[: len(kind.magic)] == kind.magic:
            yield from _unpacked(kind, payload)
