# SPDX-License-Identifier: Apache-2.0
"""The bundle's own version of Python on this machine, which compiles the bundle's modules
and packs it.

Byte code is the same for all architectures, but not for all versions of Python.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfctl.debian import Archive
from bpfctl.debian.libraries import needs
from bpfctl.progress import Progress

from .errors import BundleError
from .recipe import Recipe

MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "riscv64": "riscv64"}
"""Debian's word for this machine, by `uname -m`."""


@dataclass(frozen=True)
class Place:
    """A folder of modules; see `inside.closure.Place`."""

    name: str
    folder: Path
    later: bool = True
    extensions: Path | None = None


@dataclass(frozen=True)
class Module:
    """A module that goes into the bundle."""

    name: str
    place: str
    source: Path
    """The file that was found."""
    file: Path
    """Its byte code, or the extension module itself."""
    path: str
    """Below the bundle's folder of modules."""

    @property
    def is_native(self) -> bool:
        return ".so" in self.file.name


class Python:
    """Python out of Debian's packages for this machine's architecture, run from its tree."""

    def __init__(self, root: Path, version: str, triplet: str) -> None:
        self._program = root / "usr" / "bin" / f"python{version}"
        self._libraries = [root / "usr" / "lib" / triplet, root / "usr" / "lib"]

    @classmethod
    def of_this_machine(cls, recipe: Recipe, progress: Progress) -> Python:
        """Raises BundleError on machines that Debian does not run on."""
        machine = platform.machine()
        if platform.system() != "Linux" or machine not in MACHINES:
            raise BundleError(
                f"bundles are not built on {platform.system()} {machine}",
                f"build on Linux for {', '.join(MACHINES)}",
            )
        archive = Archive(recipe.suite, MACHINES[machine])
        names = [
            f"python{recipe.python}-minimal",
            f"libpython{recipe.python}-stdlib",
            "libdeflate0",
        ]
        return cls(archive.tree(*names, progress=progress), recipe.python, archive.triplet)

    def run(self, arguments: Sequence[str], text: str = "") -> str:
        """Runs Python, which finds the package `inside`, with `text` as input.

        Gives its output; raises BundleError.
        """
        found = needs(self._program)
        assert found is not None
        loader = self._libraries[0] / Path(found.interpreter).name
        here = Path(__file__).resolve().parent
        done = subprocess.run(
            [
                *(str(loader), "--library-path", ":".join(map(str, self._libraries))),
                *(str(self._program), "-S", "-s", "-P", "-B", *arguments),
            ],
            input=text,
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(here), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise BundleError(f"{' '.join(arguments[:2])} failed: {last}")
        return done.stdout


def compile_modules(
    python: Python,
    places: Sequence[Place],
    packages: Iterable[tuple[str, str]],
    recipe: Recipe,
    output: Path,
) -> list[Module]:
    """All modules of `packages`, and all that they need, compiled below `output`.

    The first place is the daemon's. Raises BundleError when an import of the daemon, or of
    what it imports, cannot be met.
    """
    request = {
        "places": [
            {
                "name": place.name,
                "folder": str(place.folder),
                "later": place.later,
                "extensions": str(place.extensions) if place.extensions else "",
            }
            for place in places
        ],
        "packages": [list(pair) for pair in packages],
        "also": recipe.also,
        "never": recipe.never,
        "output": str(output),
    }
    answer: dict[str, Any] = json.loads(python.run(["-m", "inside"], json.dumps(request)))
    if answer["missing"]:
        where, what = answer["missing"][0]
        raise BundleError(
            f"{where} imports {what}, which neither Debian's packages nor the wheels have",
            "name what it is part of in the recipe",
        )
    return [
        Module(
            each["name"],
            each["place"],
            Path(each["source"]),
            Path(each["file"]),
            each["path"],
        )
        for each in answer["modules"]
    ]


def compress(python: Python, data: bytes, work: Path) -> bytes:
    """The data as a gzip file; `work` is a folder for files."""
    plain, packed = work / "plain", work / "packed"
    plain.write_bytes(data)
    python.run(["-m", "inside.compress", str(plain), str(packed)])
    return packed.read_bytes()
