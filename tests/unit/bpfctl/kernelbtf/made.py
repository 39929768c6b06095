# SPDX-License-Identifier: Apache-2.0
"""Kernels made by hand: BTF, banners, images of every form."""

from __future__ import annotations

import struct

VERSION = "#1 SMP Debian 6.1.176-1 (2026-07-02)"
RELEASE = "6.1.0-50-armmp"
BANNER = f"Linux version {RELEASE} (me@host) (gcc-12 (GCC) 12.2, ld 2.40) {VERSION}\n".encode()
DRAFT = BANNER.replace(b"#1 SMP", b"# SMP")


def btf(
    struct_name: str = "task_struct", *, long_bytes: int = 4, filler: int = 0, order: str = "<"
) -> bytes:
    """Raw BTF of `struct NAME { unsigned long start; }` and of `filler` forward structs."""
    strings = b"\0long unsigned int\0start\0" + struct_name.encode() + b"\0"
    types = struct.pack(f"{order}IIII", 1, 1 << 24, long_bytes, long_bytes * 8)
    types += struct.pack(f"{order}III", 25, 4 << 24 | 1, long_bytes)
    types += struct.pack(f"{order}III", 19, 1, 0)
    for index in range(filler):
        types += struct.pack(f"{order}III", len(strings), 7 << 24, 0)
        strings += b"filler%d\0" % index
    sizes = (0, len(types), len(types), len(strings))
    head = struct.pack(f"{order}HBBI4I", 0xEB9F, 1, 0, 24, *sizes)
    return head + types + strings


WHOLE = btf(filler=1000)
"""Large enough to be taken for a kernel's."""


def noise(size: int) -> bytes:
    """Bytes as code has them: not compressible to nothing, the same each time."""
    state, words = 1, []
    for _ in range(size // 4):
        state = (state * 1103515245 + 12345) & 0xFFFFFFFF
        words.append(state >> 3)
    return struct.pack(f"<{len(words)}I", *words)


NOISE = noise(1 << 17)


def kernel(content: bytes = WHOLE, banner: bytes = DRAFT + b"\0" + BANNER) -> bytes:
    """The bytes of a kernel proper."""
    return NOISE + banner + bytes(64) + content + bytes(1 << 20) + NOISE


def arm64_image(content: bytes) -> bytes:
    return content[:0x38] + b"ARM\x64" + content[0x3C:]


def zimage(packed: bytes) -> bytes:
    """arch/arm/boot/compressed: code, then the packed kernel, then tables."""
    head = bytes(0x24) + struct.pack("<I", 0x016F2818) + bytes(0x28)
    return head + NOISE[:4096] + packed + struct.pack("<I", 1 << 22) + NOISE[:512]


def bzimage(packed: bytes) -> bytes:
    """A setup of 4 sectors, code of the decompressor, the packed kernel."""
    data = bytearray(5 * 512)
    data[0x1F1] = 4
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", data, 0x248, 1024, len(packed))
    return bytes(data) + NOISE[:1024] + packed + NOISE[:512]


def zboot(packed: bytes) -> bytes:
    """The EFI form."""
    head = b"MZ\0\0zimg" + struct.pack("<II", 4096, len(packed)) + bytes(8) + b"zstd22\0\0"
    return head.ljust(4096, b"\0") + packed + NOISE[:512]


def boot_img(image: bytes, version: int = 2) -> bytes:
    """boot.img of Android: a page of header, then the kernel."""
    page = 4096 if version >= 3 else 2048
    head = bytearray(page)
    head[:8] = b"ANDROID!"
    struct.pack_into("<I", head, 8, len(image))
    if version < 3:
        struct.pack_into("<I", head, 36, page)
    struct.pack_into("<I", head, 40, version)
    return bytes(head) + image + bytes(-len(image) % page)


def elf(sections: dict[str, bytes], machine: int = 40, wide: bool = False) -> bytes:
    """A little-endian ELF executable with these sections; 40 is ARM, 62 x86-64."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in [*sections, ".shstrtab"])
    head_bytes, section_bytes = (64, 64) if wide else (52, 40)
    body, placed = b"", []
    for name, content in [*sections.items(), (".shstrtab", names)]:
        body += bytes(-len(body) % 8)
        kind = 3 if name == ".shstrtab" else 7 if name.startswith(".note") else 1
        start = names.index(b"\0" + name.encode() + b"\0") + 1
        placed.append((start, kind, head_bytes + len(body), len(content)))
        body += content
    body += bytes(-len(body) % 8)
    table = head_bytes + len(body)
    form = "<IIQQQQIIQQ" if wide else "<10I"
    headers = bytes(section_bytes) + b"".join(
        struct.pack(form, start, kind, 0, 0, offset, size, 0, 0, 4, 0)
        for start, kind, offset, size in placed
    )
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    rest = (0, head_bytes, 0, 0, section_bytes, len(placed) + 1, len(placed))
    form = "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH"
    return ident + struct.pack(form, 2, machine, 1, 0, 0, table, *rest) + body + headers


def build_id_note(build_id: bytes) -> bytes:
    return struct.pack("<III", 4, len(build_id), 3) + b"GNU\0" + build_id
