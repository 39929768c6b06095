# SPDX-License-Identifier: Apache-2.0
"""Kernel images of every form and compression."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable

import lz4.block
import pytest
import zstandard
from bpfctl.kernelbtf import KernelBtfError, KernelBuild, compression, image

from . import made


def lz4_legacy(data: bytes) -> bytes:
    """As `lz4 -l` writes it: blocks of 8 MiB behind their sizes."""
    blocks = [
        lz4.block.compress(data[at : at + (8 << 20)], store_size=False)
        for at in range(0, len(data), 8 << 20)
    ]
    return b"\x02\x21\x4c\x18" + b"".join(
        struct.pack("<I", len(block)) + block for block in blocks
    )


def old_lzma(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 23}]
    return lzma.compress(data, lzma.FORMAT_ALONE, filters=filters)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "lzma": old_lzma,
    "zstd": lambda data: zstandard.ZstdCompressor(1).compress(data),
    "lz4": lz4_legacy,
    "bzip2": lambda data: bz2.compress(data, 9),
}
FORMS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "zImage": (made.zimage, "arm"),
    "bzImage": (made.bzimage, "x86"),
    "zboot": (made.zboot, ""),
    "Image.gz": (lambda packed: packed, ""),
    "boot.img": (made.boot_img, ""),
    "boot.img v4": (lambda packed: made.boot_img(packed, 4), ""),
}
KERNEL = made.kernel()


@pytest.mark.parametrize("packer", PACKERS)
def test_every_compression(packer: str) -> None:
    found = image.read(made.zimage(PACKERS[packer](KERNEL)))
    assert found.btf == made.WHOLE
    assert found.build == KernelBuild("arm", made.RELEASE, made.VERSION)


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form: str) -> None:
    wrap, architecture = FORMS[form]
    found = image.read(wrap(PACKERS["zstd"](KERNEL)))
    assert found.btf == made.WHOLE
    assert found.build == KernelBuild(architecture, made.RELEASE, made.VERSION)


def test_raw_images_and_images_in_images() -> None:
    raw = made.arm64_image(KERNEL)
    assert image.read(raw).build.architecture == "arm64"
    assert image.read(raw).btf == made.WHOLE
    inside = made.boot_img(made.zimage(PACKERS["lz4"](KERNEL)))
    assert image.read(inside).btf == made.WHOLE
    uimage = b"\x27\x05\x19\x56" + bytes(60) + PACKERS["gzip"](KERNEL)
    assert image.read(uimage).btf == made.WHOLE


def test_more_blocks_of_lz4_than_one() -> None:
    long = made.kernel() + bytes(9 << 20) + made.NOISE
    assert compression.KINDS[3].name == "lz4"
    packed = memoryview(lz4_legacy(long) + struct.pack("<I", len(long)))
    assert compression.KINDS[3].decompress(packed) == long


def test_a_kernel_without_btf_says_which_it_is() -> None:
    found = image.read(made.zimage(PACKERS["gzip"](made.kernel(content=b""))))
    assert not found.btf
    assert found.build == KernelBuild("arm", made.RELEASE, made.VERSION)


def test_what_is_no_kernel_is_refused() -> None:
    for data in (b"", b"MZ", b"ANDROID!" + bytes(100), made.NOISE, made.bzimage(b"")):
        with pytest.raises(KernelBtfError, match="no Linux kernel in this file"):
            image.read(data)


@pytest.mark.parametrize("packer", [name for name in PACKERS if name != "lz4"])
def test_streams_that_are_cut_short(packer: str) -> None:
    packed = PACKERS[packer](KERNEL)
    for cut in (len(packed) // 2, 40):
        with pytest.raises(KernelBtfError):
            image.read(made.zimage(packed[:cut])[: 0x50 + 4096 + cut])


def test_btf_of_modules_and_damaged_headers_is_passed_over() -> None:
    small = made.btf()
    bent = bytearray(made.WHOLE)
    struct.pack_into("<I", bent, 20, 1 << 30)
    data = small + bytes(bent) + made.btf(filler=1500, order=">") + made.WHOLE
    assert image.find_btf(data) == made.btf(filler=1500, order=">")
    assert image.find_btf(small + bytes(bent)) == b""
