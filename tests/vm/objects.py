# SPDX-License-Identifier: Apache-2.0
"""Compiles on the workstation what the tests on a board load there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bpfctl.build import BuildOptions, NoKernelTypes, TargetFacts, build
from bpfctl.config import cache_dir
from bpfctl.elf import ObjectFile
from bpfctl.kernelbtf import reduce
from bpfctl.package import load_package

from tests.clang import CLANG
from tests.kernel import (
    clang,
    loaded_package,
    test_attach_uprobe,
    test_attach_uprobe_multi,
    usdt_library,
)
from tests.vm.overlay import prune

PACKAGES = (
    *(("ddos", None), ("ddos", "v2"), ("tcplife", None)),
    *(("biolatency", None), ("runqlat", None), ("hardirqs", None)),
    *(("execsnoop", None), ("opensnoop", None), ("syscount", None)),
    *(("tcpconnect", None), ("tcpretrans", None)),
)
"""Packages of bpf/ with their variants."""

LIBRARIES = {
    "libhk.so.1": test_attach_uprobe.SOURCE,
    "libum.so": test_attach_uprobe_multi.SOURCE,
    "libus.so": usdt_library.SOURCE,
}
"""Shared libraries whose functions are probed, in C."""

_LIBC = "int puts(const char *text) { return 0; }"
"""What they take from the C library, which is not here for every machine."""

_VALUES = {"VERSION": ("2", "7")}
"""Defines that have values."""

_TRIPLES = {
    "x86_64": "x86_64-linux-gnu",
    "aarch64": "aarch64-linux-gnu",
    "armv7l": "arm-linux-gnueabihf",
    "riscv64": "riscv64-linux-gnu",
}

_TOGETHER = (("hooks", "WITHOUT_RAW_COOKIES", "WITHOUT_TP_BTF"),)
"""Programs with more than one define."""

_CONDITION = re.compile(r"^#\s*(?:ifdef|ifndef|if defined\()\s*([A-Z][A-Z0-9_]*)", re.MULTILINE)


def compile_all(folder: Path, facts: TargetFacts, fetch_btf: Callable[[], bytes]) -> None:
    """Objects for the target of these facts, as `BPFD_TEST_OBJECTS` wants them.

    A package that needs the kernel's types and cannot have them is left out.
    """
    shutil.copytree(_programs(facts.machine), folder)
    for name, variant in PACKAGES:
        source = load_package(name).source_path(variant)
        try:
            built = build(source, facts, fetch_btf, options=BuildOptions())
        except NoKernelTypes:
            continue
        target = folder / loaded_package.object_name(name, variant)
        target.write_bytes(built.object)
        if facts.btf_sha256 and not facts.kernel_has_btf:
            _send_along(target, facts, fetch_btf())


def _send_along(target: Path, facts: TargetFacts, btf: bytes) -> None:
    """Beside an object what it needs of a kernel without BTF, as far as it needs any."""
    elf = target.read_bytes()
    if not reduce.needs_btf(ObjectFile.parse(elf)):
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(btf)
        file.flush()
        sent = reduce.reduced(elf, Path(file.name), facts.btf_sha256)
    target.with_name(f"{target.name}.btf").write_bytes(sent)


def _programs(machine: str) -> Path:
    """A folder with every program, in the cache."""
    place = cache_dir() / "vm" / f"objects-{machine}-{_digest()}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".objects-", dir=place.parent))
        try:
            _compile(fresh, machine)
            os.rename(fresh, place)
            prune(place.parent, f"objects-{machine}-*")
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return place


def _digest() -> str:
    digest = hashlib.sha256(CLANG.encode())
    programs = sorted(path for path in clang.PROGRAMS.rglob("*") if path.is_file())
    for path in (Path(__file__), Path(clang.__file__), *programs):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for source in LIBRARIES.values():
        digest.update(source.encode())
    return digest.hexdigest()[:16]


def _compile(folder: Path, machine: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(_program, folder, machine, *each) for each in _variants()]
        for name, source in LIBRARIES.items():
            jobs.append(pool.submit(_library, folder, machine, name, source))
        for job in jobs:
            job.result()
    for name in dict.fromkeys(name for name, *_ in _variants()):
        if not list(folder.glob(f"{name}[-.]*")):
            raise RuntimeError(f"{name}.bpf.c cannot be compiled for {machine}")


def _variants() -> Iterator[tuple[str, ...]]:
    """Every program of tests/kernel/programs as it is, and with each of its defines."""
    for source in sorted(clang.PROGRAMS.glob("*.bpf.c")):
        name = source.name.removesuffix(".bpf.c")
        yield (name,)
        for define in dict.fromkeys(_CONDITION.findall(source.read_text())):
            for value in _VALUES.get(define, ("",)):
                yield name, f"{define}={value}" if value else define
    yield from _TOGETHER


def _program(folder: Path, machine: str, name: str, *defines: str) -> None:
    """A define may make nothing on this machine, or nothing by itself."""
    target = folder / clang.object_name(name, *defines)
    try:
        clang.compile_to(target, name, *defines, machine=machine, quiet=True)
    except subprocess.CalledProcessError:
        target.unlink(missing_ok=True)


def _library(folder: Path, machine: str, name: str, source: str) -> None:
    command = [CLANG, f"--target={_TRIPLES[machine]}", "-shared", "-fPIC", "-O0", "-nostdlib"]
    # One page of a small file in several segments would be probed once for each of them.
    command += ["-fuse-ld=lld", "-Wl,-z,separate-loadable-segments", "-xc", "-"]
    with tempfile.TemporaryDirectory(prefix="bpfd-test-") as scratch:
        libc = f"{scratch}/libc.so.6"
        _run([*command, "-Wl,-soname,libc.so.6", "-o", libc], _LIBC)
        target = str(folder / name)
        _run([*command, f"-Wl,-soname,{name}", "-xnone", libc, "-o", target], source)


def _run(command: list[str], source: str) -> None:
    subprocess.run(command, input=source, text=True, check=True)
