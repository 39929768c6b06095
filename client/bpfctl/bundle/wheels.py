# SPDX-License-Identifier: Apache-2.0
"""Wheels of another platform: fetched by pip, verified by hash, kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bpfctl.config import cache_dir

from .errors import BundleError
from .recipe import Wheel

_PLATFORMS = (
    "manylinux_2_17",
    "manylinux2014",
    "manylinux_2_28",
    "manylinux_2_31",
    "manylinux_2_34",
    "manylinux_2_39",
    "manylinux_2_41",
    "linux",
)
"""What runs on the bundle's own C library (trixie has glibc 2.41; PEP 600)."""


@dataclass(frozen=True)
class WheelFile:
    """A wheel's file in the cache."""

    wheel: Wheel
    path: Path
    sha256: str


def fetch(
    wheels: Sequence[Wheel], machine: str, python: str, folder: Path | None = None
) -> list[WheelFile]:
    """The files of pinned wheels for `machine` ("armv7l") and `python` ("3.13").

    pip fetches what the cache lacks, from where this machine's pip is set up to. Raises
    BundleError.
    """
    folder = folder or cache_dir() / "wheels" / machine
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [each for each in wheels if _cached(each, folder) is None]
        if missing:
            _download(missing, machine, python, folder)
        found = [_cached(each, folder) for each in wheels]
    for wheel, file in zip(wheels, found, strict=True):
        if file is None:
            raise BundleError(f"pip fetched no file of {wheel.name} {wheel.version}")
    return [file for file in found if file is not None]


def distribution(name: str) -> str:
    """A project's name as files and folders spell it (PEP 427): "grpcio_reflection"."""
    return re.sub(r"[-_.]+", "_", name).lower()


def _cached(wheel: Wheel, folder: Path) -> WheelFile | None:
    for path in sorted(folder.glob(f"{distribution(wheel.name)}-{wheel.version}-*.whl")):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest in wheel.sha256:
            return WheelFile(wheel, path, digest)
    return None


def _download(wheels: Iterable[Wheel], machine: str, python: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as fresh:
        wanted = Path(fresh) / "wanted.txt"
        wanted.write_text("".join(_requirement(each) for each in wheels))
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--disable-pip-version-check", "--no-input", "--require-hashes"),
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", python),
            *("--abi", f"cp{python.replace('.', '')}", "--abi", "abi3", "--abi", "none"),
            *(word for tag in _PLATFORMS for word in ("--platform", f"{tag}_{machine}")),
            *("--dest", fresh, "--requirement", str(wanted)),
        ]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise _failure(done.stderr, machine)
        for path in Path(fresh).glob("*.whl"):
            path.replace(folder / path.name)


def _requirement(wheel: Wheel) -> str:
    hashes = " ".join(f"--hash=sha256:{each}" for each in wheel.sha256)
    return f"{wheel.name}=={wheel.version} {hashes}\n"


def _failure(said: str, machine: str) -> BundleError:
    if "No module named pip" in said:
        return BundleError(
            f"wheels are fetched by pip, and {sys.executable} has none",
            f"`{sys.executable} -m ensurepip`, or on Debian `apt install python3-pip`",
        )
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")]
    lines = errors or [line for line in said.splitlines() if line.strip()]
    reason = lines[0].removeprefix("ERROR:").strip() if lines else "no reason given"
    return BundleError(
        f"wheels for {machine} cannot be fetched: {reason}",
        "does `pip download grpcio` work on this machine?",
    )
