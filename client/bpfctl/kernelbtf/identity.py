# SPDX-License-Identifier: Apache-2.0
"""Which build of a kernel something belongs to."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfctl.compiler.clang import architecture

if TYPE_CHECKING:
    from bpfd.v1 import target_pb2

# linux_banner of init/version-timestamp.c:
# "Linux version RELEASE (BY@HOST) (COMPILER) VERSION\n".
_BANNER = re.compile(rb"Linux version ([\w.+~:-]{1,64}) \([^\n\0]{1,512}\) (#[^\n\0]{1,64})\n")


@dataclass(frozen=True)
class KernelBuild:
    """One build of a kernel; empty parts are unknown."""

    architecture: str = ""
    """As in __TARGET_ARCH_name: "x86", "arm64", "arm", "riscv"."""
    release: str = ""
    """`uname -r`"""
    version: str = ""
    """`uname -v`: number, options and time of the build."""
    build_id: str = ""
    """GNU build id, hex."""

    @classmethod
    def of(cls, info: target_pb2.TargetInfo) -> KernelBuild:
        """The kernel that a target runs."""
        return cls(
            architecture(info.machine),
            info.kernel_release,
            info.kernel_version,
            info.kernel_build_id.hex(),
        )

    def __str__(self) -> str:
        return " ".join(filter(None, (self.release, self.version))) or self.build_id

    @property
    def is_whole(self) -> bool:
        """Whether it says enough to be told from other builds."""
        return bool(self.build_id or (self.release and self.version))

    def matches(self, other: KernelBuild) -> bool:
        """Whether both are the same build: by build id, else by release and version."""
        if self.build_id and other.build_id:
            return self.build_id == other.build_id
        if not (self.is_whole and other.is_whole):
            return False
        same = (self.release, self.version) == (other.release, other.version)
        return same and not self.contradicts(other)

    def contradicts(self, other: KernelBuild) -> bool:
        """Whether something that both know differs."""
        pairs = (
            (self.architecture, other.architecture),
            (self.release, other.release),
            (self.version, other.version),
            (self.build_id, other.build_id),
        )
        return any(mine and theirs and mine != theirs for mine, theirs in pairs)

    def completed(self, other: KernelBuild) -> KernelBuild:
        """This build, with what only the other knows."""
        return KernelBuild(
            self.architecture or other.architecture,
            self.release or other.release,
            self.version or other.version,
            self.build_id or other.build_id,
        )

    @property
    def key(self) -> str:
        """A name for files."""
        parts = (self.architecture, self.release, self.version, self.build_id)
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9.+_-]', '_', self.release) or 'kernel'}-{digest[:10]}"


def banner(data: bytes) -> KernelBuild | None:
    """The release and version that a kernel carries; None: there is no banner in `data`.

    `data` may be anything that a regular expression can search, as a memory map.
    """
    found = None
    for found in _BANNER.finditer(data):
        # Up to 6.1 there is a draft, too, of a version without its number: "# SMP ...".
        if found[2][1:2].isdigit():
            break
    if found is None:
        return None
    return KernelBuild(release=found[1].decode(), version=found[2].decode(errors="replace"))
