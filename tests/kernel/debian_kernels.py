# SPDX-License-Identifier: Apache-2.0
"""BTF of kernels of Debian, from their packages, kept in the user's cache.

Nothing is downloaded unless `BPFD_TEST_DOWNLOADS` is 1: 25 to 60 MB for each kernel that has
BTF, 700 MB for those of armhf, which have none.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass

import pytest
from bpfctl.compiler import cache
from bpfctl.config import cache_dir
from bpfctl.debian import Archive
from bpfctl.kernelbtf import KernelBuild, files

DOWNLOADS = os.environ.get("BPFD_TEST_DOWNLOADS") == "1"

FLAVOURS = {
    "amd64": "linux-image-cloud-amd64",
    "arm64": "linux-image-cloud-arm64",
    "armhf": "linux-image-armmp",
    "riscv64": "linux-image-riscv64",
}


@dataclass(frozen=True)
class DebianKernel:
    """A kernel and what it was built as."""

    btf: bytes
    build: KernelBuild


def kernel(suite: str, arch: str) -> DebianKernel:
    """The kernel of a suite; skips the test where it is not here and may not be fetched."""
    place = cache_dir() / "btf" / "debian"
    data, facts = place / f"{suite}-{arch}.btf", place / f"{suite}-{arch}.json"
    if not (data.exists() and facts.exists()):
        if not DOWNLOADS:
            pytest.skip(f"the kernel of {suite} for {arch} is not in the cache")
        found = _fetched(suite, arch).kernel
        cache.write(data, found.btf)
        cache.write(facts, json.dumps(asdict(found.build)).encode())
    return DebianKernel(data.read_bytes(), KernelBuild(**json.loads(facts.read_bytes())))


def _fetched(suite: str, arch: str) -> files.Found:
    archive = Archive(suite, arch)
    depends = archive.fields(FLAVOURS[arch])["Depends"]
    image = next(name for name in re.findall(r"linux-image-\S+", depends))
    if arch == "armhf":
        image += "-dbg"
    elif "linux-binary" in archive.fields(image).get("Depends", ""):
        image = image.replace("linux-image", "linux-binary")
    packages = archive.packages(image)
    path = archive.download(packages)[packages[0].name]
    try:
        return files.from_package(path)
    finally:
        archive.forget(packages)
