# SPDX-License-Identifier: Apache-2.0
"""BTF by kernel build, in the user's data folder.

It is no cache: what is here may have cost a download of hundreds of megabytes, or come from
a vendor's debug files that the user has only once. Each entry is a folder with `btf` (raw)
and `entry.json`; it is made beside its place and renamed into it.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bpfctl.config import data_dir
from bpfctl.errors import InvalidArgument, NotFound

from .errors import KernelBtfError
from .identity import KernelBuild

FOLDER = "kernel-btf"
_DATA = "btf"
_ENTRY = "entry.json"


@dataclass(frozen=True)
class Entry:
    """BTF of one kernel build."""

    name: str
    """Unique in the store."""
    build: KernelBuild
    source: str
    """Where it came from, for people."""
    size: int
    """Bytes."""
    sha256: str
    added: float
    """Seconds since 1970."""
    path: Path
    """The raw BTF."""

    def read(self) -> bytes:
        """The raw BTF; raises KernelBtfError when it is damaged."""
        try:
            data = self.path.read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise KernelBtfError(
                f"{self.path} is damaged", f"`bpfctl btf remove {self.name}`, then add it again"
            )
        return data


class Store:
    """The entries below `folder`, by default of the user's data folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or data_dir() / FOLDER

    def entries(self) -> list[Entry]:
        """All, in the order of their names."""
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return []
        found = (_read(self.folder / name) for name in names if not name.startswith("."))
        return [entry for entry in found if entry is not None]

    def find(self, build: KernelBuild) -> Entry | None:
        """The entry of a kernel build, the one added last; None: it is not known."""
        fitting = [entry for entry in self.entries() if entry.build.matches(build)]
        return max(fitting, key=lambda entry: entry.added, default=None)

    def add(self, build: KernelBuild, btf: bytes, source: str) -> Entry:
        """Keep BTF of a build, in place of what was known of it.

        Raises KernelBtfError for what is not the BTF of a kernel, InvalidArgument for a
        build that cannot be told from others.
        """
        check(btf)
        if not build.is_whole:
            raise InvalidArgument(
                "kernel", "a release and a version, or a build id, are needed"
            )
        entry = Entry(
            name=build.key,
            build=build,
            source=source,
            size=len(btf),
            sha256=hashlib.sha256(btf).hexdigest(),
            added=time.time(),
            path=self.folder / build.key / _DATA,
        )
        with self._locked():
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
            try:
                (fresh / _DATA).write_bytes(btf)
                (fresh / _ENTRY).write_text(_text(entry))
                for old in self.entries():
                    if old.build.matches(build) or old.name == entry.name:
                        shutil.rmtree(old.path.parent)
                # One that cannot be read is in none of the lists.
                shutil.rmtree(entry.path.parent, ignore_errors=True)
                os.rename(fresh, entry.path.parent)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return entry

    def remove(self, name: str) -> Entry:
        """Forget an entry, by its name, its beginning, or the kernel's release.

        Raises NotFound, InvalidArgument where several are meant.
        """
        with self._locked():
            entries = self.entries()
            fitting = [entry for entry in entries if entry.name == name] or [
                entry
                for entry in entries
                if entry.build.release == name or (name and entry.name.startswith(name))
            ]
            if not fitting:
                import difflib

                near = difflib.get_close_matches(name, [entry.name for entry in entries], 3)
                raise NotFound("kernel", name, near, "`bpfctl btf list` shows all")
            if len(fitting) > 1:
                names = ", ".join(entry.name for entry in fitting)
                raise InvalidArgument("kernel", f"{name!r} is one of {names}")
            shutil.rmtree(fitting[0].path.parent)
        return fitting[0]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def check(btf: bytes) -> None:
    """Raises KernelBtfError unless `btf` is raw BTF of a whole kernel."""
    from bpfctl.btf import Btf, BtfError
    from bpfctl.btf.kinds import Kind

    try:
        found = Btf.parse(btf).find("task_struct", Kind.STRUCT)
    except BtfError as error:
        raise KernelBtfError(str(error)) from None
    if found is None:
        raise KernelBtfError(
            "there is no struct task_struct in this BTF",
            "BTF of the kernel itself is wanted, not of a module or of an object",
        )


def _text(entry: Entry) -> str:
    fields = {"source": entry.source, "size": entry.size, "sha256": entry.sha256}
    fields |= {"added": entry.added, "build": dataclasses.asdict(entry.build)}
    return json.dumps(fields, indent=2) + "\n"


def _read(place: Path) -> Entry | None:
    try:
        fields = json.loads((place / _ENTRY).read_bytes())
        return Entry(
            name=place.name,
            build=KernelBuild(**fields["build"]),
            source=fields["source"],
            size=fields["size"],
            sha256=fields["sha256"],
            added=fields["added"],
            path=place / _DATA,
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
