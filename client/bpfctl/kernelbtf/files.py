# SPDX-License-Identifier: Apache-2.0
"""BTF out of whatever file a user has."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from bpfctl.compiler import cache
from bpfctl.progress import Progress, silent

from . import elf, image
from .errors import KernelBtfError
from .identity import KernelBuild
from .image import Kernel

MAX_IMAGE = 512 << 20
"""Bytes of an image that are looked through; a vmlinux with DWARF may have more."""

_KERNELS = ("*vmlinux*", "*vmlinuz*", "*/zImage*", "*/Image*", "*/bzImage*")
"""Files of packages that may be kernels."""

_CHUNK = 1 << 20
_BTFHUB = re.compile(r"(?P<release>.+)\.btf(\.tar(\.\w+)?)?")


@dataclass(frozen=True)
class Found:
    """BTF, and where it was."""

    kernel: Kernel
    source: str


def read(path: Path, progress: Progress = silent) -> Found:
    """BTF and build of the kernel in a file: raw BTF, an image, a vmlinux, an archive.

    Raises KernelBtfError, and OSError for a file that cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    if path.suffix in (".deb", ".ddeb") or head.startswith(b"!<arch>\n"):
        return from_package(path, progress)
    if elf.is_elf(path):
        return Found(elf.read(path, progress), path.name)
    if _is_btf(head):
        return Found(Kernel(KernelBuild(), path.read_bytes()), path.name)
    if ".tar" in path.suffixes or path.suffix == ".tgz":
        return _from_archive(path)
    return _from_image(path)


def from_package(path: Path, progress: Progress = silent) -> Found:
    """The same of the kernel in a Debian package; only that file is unpacked.

    Where there are several, those with BTF or DWARF go first.
    """
    # A vmlinux with debug information has some 300 MB, too much for /tmp in memory.
    with tempfile.TemporaryDirectory(prefix=".kernel-", dir=cache.folder()) as place:
        kernels = unpack(path, Path(place), progress)
        kernels.sort(key=lambda file: file.stat().st_size, reverse=True)
        failed: KernelBtfError | None = None
        for file in kernels:
            try:
                kernel = elf.read(file, progress) if elf.is_elf(file) else _image(file)
                return Found(kernel, f"{path.name}: {file.name}")
            except KernelBtfError as error:
                failed = failed or error
    raise KernelBtfError(
        f"{path.name} holds no kernel with BTF or debug information"
        + (f" ({failed.why})" if failed else ""),
        "packages of debug symbols do: linux-image-RELEASE-dbg",
    )


def unpack(package: Path, place: Path, progress: Progress = silent) -> list[Path]:
    """The files of a Debian package that may be kernels, and nothing else of it."""
    if shutil.which("dpkg-deb") is None:
        raise KernelBtfError(
            f"{package.name} is unpacked with dpkg-deb, and there is none",
            "install dpkg, or unpack it elsewhere and give the kernel in it",
        )
    found: list[Path] = []
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as reading:
        assert reading.stdout is not None
        try:
            with tarfile.open(fileobj=reading.stdout, mode="r|") as tar:
                for member in tar:
                    if member.isfile() and _may_be_kernel(member.name):
                        target = place / f"{len(found)}-{Path(member.name).name}"
                        content = tar.extractfile(member)
                        assert content is not None
                        _copy(content, target, member.size, progress)
                        found.append(target)
                        if member.name.startswith("./usr/lib/debug/"):
                            # It is the one that has all; what follows are the modules.
                            break
        except tarfile.TarError as error:
            raise KernelBtfError(f"{package} is damaged ({error})") from None
        finally:
            reading.kill()
    return found


def _may_be_kernel(name: str) -> bool:
    return not name.endswith((".ko", ".debug", ".gz")) and any(
        fnmatch.fnmatch(name, pattern) for pattern in _KERNELS
    )


def _copy(content: IO[bytes], target: Path, size: int, progress: Progress) -> None:
    done = 0
    with target.open("wb") as out:
        while chunk := content.read(_CHUNK):
            out.write(chunk)
            done += len(chunk)
            progress("unpacking the kernel", done, size)


def _from_archive(path: Path) -> Found:
    """An archive of BTFHub: one file RELEASE.btf in RELEASE.btf.tar.xz."""
    try:
        with tarfile.open(path) as tar:
            member = next(
                (each for each in tar if each.isfile() and each.name.endswith(".btf")), None
            )
            if member is None:
                raise KernelBtfError(f"there is no .btf file in {path.name}")
            content = tar.extractfile(member)
            assert content is not None
            btf = content.read()
            name = Path(member.name).name
    except (tarfile.TarError, EOFError, OSError) as error:
        raise KernelBtfError(f"{path.name} is no archive that can be read ({error})") from None
    return Found(Kernel(KernelBuild(release=_release(name)), btf), path.name)


def _release(name: str) -> str:
    """What a file of BTFHub is called after: "5.4.0-91-generic.btf"."""
    found = _BTFHUB.fullmatch(name)
    return found["release"] if found else ""


def _from_image(path: Path) -> Found:
    kernel = _image(path)
    if not kernel.btf:
        raise KernelBtfError(
            f"{path.name} is Linux {kernel.build.release}, built without BTF",
            "its debug symbols have what BTF is made of: add the vmlinux that was not"
            " stripped; `bpfctl btf fetch` gets it for kernels of Debian",
        )
    return Found(kernel, path.name)


def _image(path: Path) -> Kernel:
    if path.stat().st_size > MAX_IMAGE:
        raise KernelBtfError(f"{path.name} is too large for a kernel image")
    return image.read(path.read_bytes())


def _is_btf(head: bytes) -> bool:
    return head[:3] in (b"\x9f\xeb\x01", b"\xeb\x9f\x01")


def named(found: Found, path: Path) -> Found:
    """What was found in a raw file, with the release that its name says, if it does."""
    if found.kernel.build != KernelBuild() or not _is_release(release := _release(path.name)):
        return found
    return replace(found, kernel=replace(found.kernel, build=KernelBuild(release=release)))


def _is_release(text: str) -> bool:
    return re.match(r"\d+\.\d+", text) is not None
