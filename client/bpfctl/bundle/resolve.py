# SPDX-License-Identifier: Apache-2.0
"""What a bundle is made from, found but not yet put together."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bpfctl.debian import Archive, Package
from bpfctl.progress import Progress

from . import wheels
from .errors import BundleError
from .recipe import Architecture, Recipe

_FORMAT = 1
"""Raised when bundles are made in another way from the same inputs."""


@dataclass(frozen=True)
class Daemon:
    """The package `bpfd` of this installation."""

    folder: Path
    """Of the package; its parent is where it is imported from."""

    @cached_property
    def files(self) -> list[Path]:
        """Its sources, sorted."""
        return sorted(self.folder.rglob("*.py"))

    @cached_property
    def version(self) -> str:
        text = (self.folder / "__init__.py").read_text("utf-8")
        found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
        if found is None:
            raise BundleError(f"{self.folder} does not say its version")
        return found.group(1)

    @cached_property
    def sha256(self) -> str:
        """Of its sources and their names."""
        return digest(self.files, self.folder)

    @cached_property
    def licenses(self) -> list[Path]:
        """The texts, of the checkout or of the installed distribution."""
        checkout = self.folder.parent / "LICENSES"
        if checkout.is_dir():
            return sorted(checkout.glob("*.txt"))
        listed = importlib.metadata.files("bpfd") or ()
        return sorted(Path(str(f.locate())) for f in listed if "licenses" in f.parts)


@dataclass(frozen=True)
class Inputs:
    """All that decides what is in a bundle."""

    recipe: Recipe
    architecture: Architecture
    daemon: Daemon
    packages: tuple[Package, ...]
    tree: Path
    """The packages, unpacked."""
    debs: dict[str, Path]
    """Package files by the packages' names."""
    texts: Path
    """A tree with the licences that Debian's packages name without having them."""
    triplet: str
    wheels: tuple[wheels.WheelFile, ...]

    @cached_property
    def owners(self) -> dict[str, Package]:
        """Which package has a file, by its path below the tree."""
        found: dict[str, Package] = {}
        for package in self.packages:
            for name in _names(self.debs[package.name]):
                found[name] = package
        return found


def daemon() -> Daemon:
    """The daemon that comes with bpfctl."""
    found = importlib.util.find_spec("bpfd")
    if found is None or found.origin is None:
        raise BundleError("this installation has no package bpfd")
    return Daemon(Path(found.origin).resolve().parent)


def inputs(
    recipe: Recipe, architecture: Architecture, own: Daemon, progress: Progress
) -> Inputs:
    """Finds and fetches everything. Raises BundleError and ArchiveError."""
    archive = Archive(recipe.suite, architecture.name)
    packages = archive.closure(*recipe.packages, *architecture.packages)
    tree = archive.unpacked(packages, progress)
    progress("wheels", 0, 0)
    wanted = [each for each in recipe.wheels if each.name not in architecture.without]
    return Inputs(
        recipe=recipe,
        architecture=architecture,
        daemon=own,
        packages=tuple(packages),
        tree=tree.resolve(),
        debs=archive.download(packages, progress),
        texts=archive.tree("base-files", closure=False, progress=progress),
        triplet=archive.triplet,
        wheels=tuple(wheels.fetch(wanted, architecture.machine, recipe.python)),
    )


def key(recipe: Recipe, architecture: Architecture, own: Daemon, lists: str) -> str:
    """Name of the bundle with these inputs; `lists` tells the state of Debian's lists."""
    here = Path(__file__).resolve().parent
    code = digest(sorted(here.rglob("*.py")), here)
    parts = [str(_FORMAT), architecture.name, lists, own.sha256, code]
    text = "\n".join(parts).encode() + recipe.digest
    return hashlib.sha256(text).hexdigest()[:32]


def digest(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 of files and of their names below a folder."""
    whole = hashlib.sha256()
    for file in files:
        data = file.read_bytes()
        whole.update(f"{file.relative_to(folder)}\0{len(data)}\0".encode() + data)
    return whole.hexdigest()


def _names(deb: Path) -> Sequence[str]:
    """Paths of a package's files in a tree whose /lib is /usr/lib."""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE
    ) as reading:
        assert reading.stdout is not None
        with tarfile.open(fileobj=reading.stdout, mode="r|") as tar:
            names = [entry.name.removeprefix("./") for entry in tar if not entry.isdir()]
    return [name if name.startswith("usr/") else f"usr/{name}" for name in names]
