# SPDX-License-Identifier: Apache-2.0
"""What a board needs beside the daemon's bundle to run tests/kernel on itself.

A tar file with the tests, pytest, the client's library, objects compiled beforehand, the rest
of Python's library and the tools that tests call. It runs with the Python of the bundle.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from bpfctl import bundle
from bpfctl.bundle import recipe
from bpfctl.bundle.python import MACHINES
from bpfctl.config import cache_dir
from bpfctl.debian import Archive
from bpfctl.debian.libraries import closure

ROOT = Path(__file__).resolve().parents[2]
SUITE = "trixie"
PYTHON = "3.13"

_DISTRIBUTIONS = (
    *("pytest", "pluggy", "iniconfig", "packaging", "pygments"),
    *("pytest-timeout", "pytest-asyncio", "pytest-rerunfailures", "click"),
    "typing-extensions",
    "pyelftools",
)
_MORE = ("grpcio", "protobuf")
"""Of these a bundle has what a daemon imports; tests are clients too."""

_LEXERS = ("__init__.py", "_mapping.py", "diff.py", "python.py")

_TOOLS = {
    "iproute2": ("ip", "tc"),
    "util-linux": ("unshare", "setpriv", "prlimit", "nsenter"),
    "bpftool": ("bpftool",),
}
"""Programs that tests call, by Debian package."""

TESTS = (
    *("attach_*", "ring", "spec", "tracer", "maps", "events", "objects", "adoption*"),
    *("lifetimes", "listing", "limits", "cancelled", "concurrent", "object_races"),
    *("daemon_target", "daemon_files", "daemon_life", "daemon_roles", "daemon_dial_stdio"),
    *("package_ddos*", "package_tcplife", "kernel_btf", "tracing_*", "visible*"),
)
"""The files of tests/kernel that run on a board: those that need no command line there, or
only one that asks."""

_NOT_NEEDED = ("test/", "idlelib/", "lib-dynload/", "ensurepip/", "pydoc_data/", "turtledemo/")


def tests() -> list[Path]:
    """The files of tests that run on a board."""
    folder = ROOT / "tests" / "kernel"
    return sorted(path for each in TESTS for path in folder.glob(f"test_{each}.py"))


def build(arch: str) -> Path:
    """The overlay without compiled objects, as a tar.gz in the cache; made when it is new."""
    place = cache_dir() / "vm" / f"overlay-{arch}-{_digest(arch)}.tar.gz"
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bpfd-overlay-") as scratch:
        root = Path(scratch, "overlay")
        root.mkdir()
        _fill(root, arch)
        _compile(root)
        fresh = place.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(pack(root, "overlay"))
        os.replace(fresh, place)
        prune(place.parent, f"overlay-{arch}-*")
    return place


def prune(folder: Path, pattern: str) -> None:
    """Removes all but the last three of what was made of older sources."""
    found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
    for path in found[:-3]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def pack(root: Path, name: str) -> bytes:
    """A folder as a tar.gz, under that name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=4) as tar:
        tar.add(root, name)
    return out.getvalue()


def _sources() -> list[tuple[Path, str]]:
    """Files of this repository and where they go."""
    found = [(ROOT / "tests" / "clang.py", "tests/clang.py")]
    for start, target in (
        ("tests/kernel", "tests/kernel"),
        ("client/bpfctl", "site/bpfctl"),
        ("bpf", "bpf"),
        ("protos", "protos"),
    ):
        for path in sorted((ROOT / start).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and _wanted(path):
                found.append((path, f"{target}/{path.relative_to(ROOT / start)}"))
    board = Path(__file__).parent / "on_board"
    found += [(path, path.name) for path in sorted(board.iterdir()) if path.is_file()]
    return found


def _wanted(path: Path) -> bool:
    return not path.name.startswith("test_") or path in tests()


def _digest(arch: str) -> str:
    digest = hashlib.sha256(f"{arch} {SUITE} {PYTHON}".encode())
    for path, target in [*_sources(), (Path(__file__), "")]:
        digest.update(target.encode() + b"\0" + path.read_bytes())
    for name in (*_DISTRIBUTIONS, *_MORE):
        digest.update(metadata.version(name).encode())
    return digest.hexdigest()[:16]


def _fill(root: Path, arch: str) -> None:
    for path, target in _sources():
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, root / target)
    for name in _DISTRIBUTIONS:
        _copy_distribution(name, root / "site")
    archive = Archive(SUITE, arch)
    without = recipe.load().architecture(arch).without
    for name in _MORE:
        if name not in without:
            _copy_distribution(name, root / "more")
    if "grpcio" in without:
        _copy_debian_grpc(archive, root / "more")
    _standard_library(archive, root)
    for package, programs in _TOOLS.items():
        _tools(archive, package, programs, root / "tools")


def _copy_distribution(name: str, site: Path) -> None:
    """A pure distribution of this virtual environment."""
    for file in metadata.files(name) or ():
        if ".." in file.parts or file.suffix in (".pyc", ".so"):
            continue
        if file.parts[:2] == ("pygments", "lexers") and file.name not in _LEXERS:
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(Path(str(file.locate())), target)


def _copy_debian_grpc(archive: Archive, site: Path) -> None:
    """What the bundle has parts of where there is no wheel."""
    folder = archive.tree("python3-grpcio") / "usr/lib/python3/dist-packages/grpc"
    shutil.copytree(folder, site / "grpc", ignore=shutil.ignore_patterns("*.so", "*.pyc"))


def _standard_library(archive: Archive, root: Path) -> None:
    packages = (f"libpython{PYTHON}-stdlib", f"libpython{PYTHON}-minimal")
    library = archive.tree(*packages) / f"usr/lib/python{PYTHON}"
    with zipfile.ZipFile(root / "stdlib.zip", "w", zipfile.ZIP_STORED) as out:
        for path in sorted(library.rglob("*.py")):
            name = str(path.relative_to(library))
            if path.exists() and not name.startswith(_NOT_NEEDED):
                out.write(path, name)
    (root / "dynload").mkdir()
    extensions = [
        path for path in (library / "lib-dynload").glob("*.so") if "_test" not in path.name
    ]
    for path in extensions:
        shutil.copy(path, root / "dynload")


def _tools(archive: Archive, package: str, programs: Iterable[str], target: Path) -> None:
    """Programs with their libraries and loader, startable from any folder."""
    tree = archive.tree(package)
    libraries = target / "lib"
    libraries.mkdir(parents=True, exist_ok=True)
    files = [_program(tree, name) for name in programs]
    for name, path in closure(files, tree, archive.triplet).items():
        shutil.copy(path, libraries / name)
    loader = next(each.name for each in libraries.iterdir() if each.name.startswith("ld-linux"))
    for path in files:
        shutil.copy(path, target / f".{path.name}")
        script = target / path.name
        script.write_text(
            "#!/bin/sh\nd=${0%/*}\n"
            f'exec "$d/lib/{loader}" --library-path "$d/lib" "$d/.{path.name}" "$@"\n'
        )
        script.chmod(0o755)


def _program(tree: Path, name: str) -> Path:
    for folder in ("usr/bin", "usr/sbin"):
        path = tree / folder / name
        if path.exists():
            return path.resolve()
    raise FileNotFoundError(f"{name} is in none of the packages")


def _compile(root: Path) -> None:
    """Byte code for all sources, as a board would take minutes for it.

    pytest writes its own for the tests when it collects them here.
    """
    with tempfile.TemporaryDirectory(prefix="bpfd-bundle-") as scratch:
        own = bundle.build(MACHINES[platform.machine()])
        subprocess.run(["tar", "-xzf", own.path, "-C", scratch], check=True)
        python = [str(Path(scratch, "bpfd", "bpfd")), "--python", str(root / "drive.py")]
        environment = {**os.environ, "BPFD_OVERLAY_COMPILE": "1"}
        done = subprocess.run(python, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the tests cannot be compiled:\n{done.stdout}{done.stderr}")
