# SPDX-License-Identifier: Apache-2.0
"""What a board boots: a kernel of Debian and a first file system, cached by what is in them.

The file system is the same for everybody; what belongs to one board (its name, addresses and
keys) is a second small archive behind it, see `bpfctl.lab.rootfs.overlay`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from bpfctl.config import cache_dir
from bpfctl.debian import Archive, Package
from bpfctl.progress import Progress, silent

from . import modules
from .errors import LabError
from .recipe import Recipe, System, system
from .rootfs import Look, assemble

_KERNEL = re.compile(r"linux-(image|binary|modules|base)-\d")
"""Packages that make up a kernel; newer suites have it in several
(https://packages.debian.org/sid/linux-binary)."""

_KEPT = 4
"""Images of one recipe that are kept: of its looks, and the one before a refresh."""

_FORMAT = 1
"""Goes up when the same inputs shall give another image."""


@dataclass(frozen=True)
class Image:
    """Files that QEMU boots, in the user's cache."""

    folder: Path
    release: str
    """The kernel's own, as `uname -r` says."""

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"


def build(
    recipe: Recipe, look: Look, *, refresh: bool = False, progress: Progress = silent
) -> Image:
    """The image of a recipe; from the cache unless its inputs changed.

    `refresh` also asks the archive whether it has a newer kernel. Raises LabError and
    ArchiveError.
    """
    images = cache_dir() / "lab" / "images"
    images.mkdir(parents=True, exist_ok=True)
    known = images / f"{recipe.name}-{_recipe_key(recipe, look)}.json"
    with open(images / f"{recipe.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not refresh:
            found = _known(known)
            if found is not None:
                return found
        image = _build(images, recipe, look, refresh, progress)
        _write(known, json.dumps({"image": image.folder.name}).encode())
        _prune(images, recipe.name)
    return image


def known_release(recipe: Recipe) -> str:
    """The kernel's release of the image that was built last; empty: none was."""
    path = cache_dir() / "lab" / "images" / f"{recipe.name}-{_recipe_key(recipe, Look())}.json"
    found = _known(path)
    return found.release if found else ""


def _prune(images: Path, name: str) -> None:
    """Remove the oldest images of a recipe; boards that run need them no more."""
    own = re.compile(re.escape(name) + r"-[0-9a-f]{32}")
    found = [path for path in images.iterdir() if own.fullmatch(path.name)]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
    for path in images.glob(f"{name}-*.json"):
        if own.fullmatch(path.stem) and _known(path) is None:
            path.unlink(missing_ok=True)


def _known(path: Path) -> Image | None:
    """The image that was built last for a recipe."""
    try:
        folder = path.parent / json.loads(path.read_text())["image"]
        return Image(folder, (folder / "release").read_text().strip())
    except (OSError, ValueError, KeyError):
        return None


def _build(
    images: Path, recipe: Recipe, look: Look, refresh: bool, progress: Progress
) -> Image:
    about = system()
    kernels = Archive(recipe.suite, recipe.arch)
    userland = Archive(about.suite, recipe.arch)
    if refresh:
        kernels.refresh()
        if userland.suite != kernels.suite:
            userland.refresh()
    kernel = kernel_packages(kernels.closure(recipe.kernel), recipe.kernel)
    programs = userland.closure(*_packages(about, look))
    key = _key(_recipe_key(recipe, look), *(each.sha256 for each in (*kernel, *programs)))
    place = images / f"{recipe.name}-{key}"
    release_file = place / "release"
    if release_file.is_file():
        return Image(place, release_file.read_text().strip())
    tree = kernels.unpacked(kernel, progress)
    kernels.forget(kernel)
    root = userland.unpacked(programs, progress)
    progress("board image", 0, 0)
    release, vmlinuz, config = kernel_files(tree)
    archive = assemble(
        look,
        about,
        root,
        userland.triplet,
        modules.closure(
            tree / "usr" / "lib" / "modules" / release,
            [*about.load, *about.offer, *recipe.modules],
        ),
        release,
        config.read_bytes(),
    )
    fresh = Path(tempfile.mkdtemp(prefix=".image-", dir=images))
    try:
        shutil.copy(vmlinuz, fresh / "vmlinuz")
        (fresh / "initrd").write_bytes(archive.pack())
        (fresh / "release").write_text(release)
        fresh.chmod(0o755)
        # What is there is the remains of a broken disk: it has no release.
        shutil.rmtree(place, ignore_errors=True)
        os.rename(fresh, place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Image(place, release)


def _packages(about: System, look: Look) -> list[str]:
    return [
        *about.packages,
        *(about.adb_packages if look.has_adb else ()),
        *(about.android_packages if look.android else ()),
    ]


def kernel_packages(closure: list[Package], name: str) -> list[Package]:
    """Of what a kernel's metapackage depends on, the kernel itself."""
    found = [each for each in closure if _KERNEL.match(each.name)]
    if not found:
        raise LabError(f"{name} depends on no kernel that is known here")
    return found


def kernel_files(tree: Path) -> tuple[str, Path, Path]:
    """Release, image and configuration of the kernel in a tree.

    Up to Debian 13 they are in /boot, later with the modules.
    """
    for folder in sorted((tree / "usr" / "lib" / "modules").glob("*")):
        release = folder.name
        for prefix in (tree / "boot", folder):
            names = ("vmlinuz", "vmlinux")
            tail = f"-{release}" if prefix != folder else ""
            for path in (prefix / f"{name}{tail}" for name in names):
                if path.is_file():
                    return release, path, prefix / f"config{tail}"
    raise LabError(f"there is no kernel in {tree}")


@cache
def _code_key() -> str:
    """Of the code that makes images, so that a new version makes new ones."""
    here = Path(__file__).parent
    names = ("cpio.py", "image.py", "init.sh", "modules.py", "rootfs.py")
    return _key(str(_FORMAT), *((here / name).read_text() for name in names))


def _recipe_key(recipe: Recipe, look: Look) -> str:
    """Of all inputs that are known without asking the archive."""
    plain = replace(recipe, where=Path(), summary="", quirks=(), memory=0, cpus=0, cmdline="")
    described = [asdict(plain), asdict(system()), asdict(look)]
    return _key(_code_key(), json.dumps(described, default=str))


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _write(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.replace(file.name, path)
