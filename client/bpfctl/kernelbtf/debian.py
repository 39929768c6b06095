# SPDX-License-Identifier: Apache-2.0
"""BTF of a kernel of Debian, from Debian's own packages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bpfctl.debian import Archive, ArchiveError, Package
from bpfctl.progress import Progress, silent

from . import files
from .errors import KernelBtfError
from .files import Found
from .identity import KernelBuild

SUITES = ("bookworm", "trixie", "forky", "sid")
"""Suites that are asked, where the kernel does not say which it is of."""

_PACKAGED = re.compile(r"Debian (?P<version>[0-9][\w.+~:-]*) \(\d{4}-\d\d-\d\d\)")
_OF_RELEASE = {"deb12": "bookworm", "deb13": "trixie", "deb14": "forky"}
_SERIES = {"6.1": "bookworm", "6.12": "trixie"}
"""Kernels of the releases: they keep theirs for as long as they live."""

_ARCHES = {
    "x86": ("amd64", "i386"),
    "arm64": ("arm64",),
    "arm": ("armhf",),
    "riscv": ("riscv64",),
}
WITHOUT_BTF = ("armhf",)
"""Whose kernels Debian builds without CONFIG_DEBUG_INFO_BTF."""


@dataclass(frozen=True)
class DebianKernel:
    """A kernel as Debian packages it."""

    build: KernelBuild
    version: str
    """Of the source package: "6.1.176-1"."""
    arch: str
    """Debian's word."""

    @classmethod
    def of(cls, build: KernelBuild) -> DebianKernel | None:
        """The package of a build; None: it is none of Debian's."""
        found = _PACKAGED.search(build.version)
        arches = _ARCHES.get(build.architecture)
        if found is None or arches is None:
            return None
        i386 = build.architecture == "x86" and re.search(r"-(686|586)", build.release)
        return cls(build, found["version"], "i386" if i386 else arches[0])

    @property
    def suites(self) -> list[str]:
        """Where it may be, the likeliest first."""
        hints = [
            *(suite for tag, suite in _OF_RELEASE.items() if f"+{tag}" in self.build.release),
            *(
                suite
                for series, suite in _SERIES.items()
                if self.version.startswith(f"{series}.")
            ),
        ]
        rest = reversed(SUITES) if not hints else SUITES
        return list(dict.fromkeys([*hints, *rest]))


def fetch(build: KernelBuild, progress: Progress = silent) -> Found:
    """Download what has the BTF of a build, and take it out; the download is not kept.

    Packages of debug symbols have some 700 MB. Raises KernelBtfError where the kernel is
    none of Debian's or its packages are no longer there.
    """
    kernel = DebianKernel.of(build)
    if kernel is None:
        raise KernelBtfError(
            f"{build} is no kernel that Debian built",
            "take BTF out of the vendor's kernel image or vmlinux: `bpfctl btf add FILE`",
        )
    tried: list[str] = []
    failed: list[ArchiveError] = []
    for archive, package in _packages(kernel, tried, failed):
        found = _read(archive, package, progress)
        if found is None:
            continue
        if found.kernel.build.contradicts(build):
            raise KernelBtfError(
                f"{package.name} {package.version} is of {found.kernel.build}, not {build}"
            )
        source = f"Debian {archive.suite}, {package.name} {package.version}"
        return Found(found.kernel, source)
    if failed and not tried:
        raise KernelBtfError(
            f"Debian's archive cannot be asked: {failed[0].why}", failed[0].hint
        )
    raise KernelBtfError(
        f"Debian's archive has no longer what linux {kernel.version} was built to"
        f" ({', '.join(tried)})",
        f"upgrade the target's kernel, or find linux-image-{build.release}-dbg"
        f" {kernel.version} for {kernel.arch} elsewhere and `bpfctl btf add` that package",
    )


def _packages(
    kernel: DebianKernel, tried: list[str], failed: list[ArchiveError]
) -> Iterator[tuple[Archive, Package]]:
    """Packages that may have it, small ones first.

    Fills `tried` with those that a suite does not have, `failed` with why one gave no answer.
    """
    for suite in kernel.suites:
        try:
            archive = Archive(suite, kernel.arch)
            # So that what follows fails for want of the package alone.
            archive.packages("base-files")
        except ArchiveError as error:
            failed.append(error)
            continue
        for name in _names(kernel):
            text = f"{name}={kernel.version}"
            try:
                found = archive.packages(text)
            except ArchiveError:
                tried.append(f"{text} of {suite}")
                continue
            yield archive, found[0]


def _names(kernel: DebianKernel) -> Iterable[str]:
    release = kernel.build.release
    if kernel.arch not in WITHOUT_BTF:
        # The image has BTF in it; since 7.x it is in a package of its own.
        yield f"linux-binary-{release}"
        yield f"linux-image-{release}"
    yield f"linux-image-{release}-dbg"


def _read(archive: Archive, package: Package, progress: Progress) -> Found | None:
    """What a package has; None: no BTF."""
    path = archive.download([package], progress)[package.name]
    try:
        found = files.from_package(path, progress)
    except KernelBtfError:
        if package.name.endswith("-dbg"):
            raise
        return None
    finally:
        archive.forget([package])
    return found if found.kernel.btf else None
