# SPDX-License-Identifier: Apache-2.0
"""Which compiler there is, and with which flags it compiles for a target."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import cache
from .errors import NoCompiler

OLDEST_CLANG = 16
NEWEST_NAMED_CLANG = 30
"""clang-30 .. clang-16 are looked for where plain `clang` is missing or too old."""

_ARCHITECTURES = (
    ("x86", ("x86_64", "i386", "i486", "i586", "i686")),
    ("arm64", ("aarch64", "aarch64_be", "arm64")),
    ("arm", ("arm", "armv")),
    ("riscv", ("riscv",)),
    ("s390", ("s390",)),
    ("powerpc", ("ppc", "powerpc")),
    ("mips", ("mips",)),
    ("loongarch", ("loongarch",)),
    ("sparc", ("sparc",)),
    ("arc", ("arc",)),
)

_MULTIARCH = {
    "x86": "x86_64-linux-gnu",
    "arm64": "aarch64-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "riscv": "riscv64-linux-gnu",
    "s390": "s390x-linux-gnu",
    "powerpc": "powerpc64le-linux-gnu",
    "mips": "mips64el-linux-gnuabi64",
    "loongarch": "loongarch64-linux-gnu",
}


@dataclass(frozen=True)
class Compiler:
    """A command that compiles C for BPF."""

    command: tuple[str, ...]
    is_zig: bool
    identity: str
    """Changes when the compiler is replaced: path, size and time of the binary."""

    def target_flags(self, big_endian: bool) -> tuple[str, ...]:
        """What makes it write BPF of this byte order."""
        if self.is_zig:
            return ("-target", f"{'bpfeb' if big_endian else 'bpfel'}-freestanding-none")
        return ("-target", "bpfeb" if big_endian else "bpfel")


def find_compiler(root: Path) -> Compiler:
    """$BPFCTL_CLANG, else clang >= 16 of PATH, else the one inside the package ziglang.

    Versions that were asked for once are remembered under `root`, so that nothing is
    started when nothing has changed. Raises NoCompiler.
    """
    override = os.environ.get("BPFCTL_CLANG")
    if override:
        return _override(root, shlex.split(override))
    too_old = []
    for name in ("clang", *(f"clang-{n}" for n in range(NEWEST_NAMED_CLANG, 15, -1))):
        path = shutil.which(name)
        if path is None:
            continue
        compiler = Compiler((path,), False, _identity(path))
        version = _version(root, compiler)
        if version >= OLDEST_CLANG:
            return compiler
        too_old.append(f"{path} is version {version}" if version else f"{path} does not run")
    zig = _zig()
    if zig is not None:
        return Compiler((zig, "cc"), True, _identity(zig))
    seen = f" ({', '.join(too_old)})" if too_old else ""
    raise NoCompiler(
        f"no compiler for BPF: clang {OLDEST_CLANG} or newer is needed{seen}. Install it"
        " (Debian: apt install clang; Fedora: dnf install clang), or"
        " `pip install 'bpfd[client,zig]'` for the one in ziglang, or set BPFCTL_CLANG"
    )


def architecture(machine: str) -> str:
    """The name in __TARGET_ARCH_name of `uname -m`, as libbpf's bpf_tracing.h has them."""
    for name, prefixes in _ARCHITECTURES:
        if machine in prefixes or (name != "x86" and machine.startswith(prefixes)):
            return name
    return machine or "unknown"


def include_folder() -> Path:
    """The folder of the headers that packages share (`bpf/include`)."""
    here = Path(__file__).resolve().parent.parent
    checkout = here.parent.parent / "bpf" / "include"
    return checkout if checkout.is_dir() else here / "bpf" / "include"


def system_folders(arch: str) -> list[str]:
    """The workstation's folders of <linux/...>, <asm/...> and <bpf/...>, last to be searched.

    The headers of user space that BPF programs include are alike on all architectures but
    for asm/, of which the target's is taken where it is installed.
    """
    here = architecture(os.uname().machine)
    triples = dict.fromkeys(filter(None, (_MULTIARCH.get(arch), _MULTIARCH.get(here))))
    folders = [f"/usr/include/{triple}" for triple in triples]
    found = [path for path in folders if os.path.isdir(path)]
    return [
        *(path for path in ("/usr/local/include",) if os.path.isdir(path)),
        *found[:1],
        "/usr/include",
        # What these ask for and is elsewhere.
        str(include_folder() / "bpfd" / "libc"),
    ]


def _override(root: Path, command: list[str]) -> Compiler:
    path = shutil.which(command[0]) if command else None
    if path is None:
        raise NoCompiler(f"BPFCTL_CLANG is {' '.join(command)!r}, which is no program")
    is_zig = len(command) > 1 and command[1] == "cc"
    compiler = Compiler((path, *command[1:]), is_zig, _identity(path))
    if not is_zig:
        version = _version(root, compiler)
        if version < OLDEST_CLANG:
            said = f"clang {version}" if version else "not a clang that runs"
            raise NoCompiler(f"BPFCTL_CLANG is {said}; {OLDEST_CLANG} or newer is needed")
    return compiler


def _identity(path: str) -> str:
    real = os.path.realpath(path)
    status = os.stat(real)
    return f"{path} {real} {status.st_size} {status.st_mtime_ns}"


def _zig() -> str | None:
    from importlib.util import find_spec

    spec = find_spec("ziglang")
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = shutil.which("zig", path=place)
        if path:
            return path
    return None


def _version(root: Path, compiler: Compiler) -> int:
    """The major version; 0: not a clang, or it does not run."""
    path = root / "compilers" / f"{cache.key(compiler.command, compiler.identity)}.json"
    try:
        version = json.loads(path.read_bytes())["version"]
        if isinstance(version, int):
            return version
    except (OSError, ValueError, LookupError, TypeError):
        pass
    version = _ask_version(compiler)
    if version:
        cache.write(path, json.dumps({"version": version}).encode())
    return version


def _ask_version(compiler: Compiler) -> int:
    import re
    import subprocess

    try:
        done = subprocess.run(
            [*compiler.command, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r"clang version (\d+)", done.stdout)
    return int(match[1]) if match and done.returncode == 0 else 0
