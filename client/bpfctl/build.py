# SPDX-License-Identifier: Apache-2.0
"""From BPF C to an object for one target, with a cache by content."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .compiler import cache
from .compiler.clang import (
    Compiler,
    architecture,
    find_compiler,
    include_folder,
    system_folders,
)
from .compiler.errors import BuildError, CompileError, NoCompiler, NoKernelTypes
from .compiler.strip import strip_dwarf

__all__ = [
    "BuildError",
    "BuildOptions",
    "Built",
    "CompileError",
    "NoCompiler",
    "NoKernelTypes",
    "TargetFacts",
    "build",
]

_FLAGS = (
    "-g",
    "-O2",
    "-Wall",
    # Kernels built with it have anonymous tagged members in their BTF (since 7.x).
    "-fms-extensions",
    "-Wno-microsoft-anon-tag",
    # What distributions add for user space makes no sense in BPF.
    "-fno-stack-protector",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-color-diagnostics",
)

_FLAGS_32BIT = (
    # Longs of the kernel are ints there, and become pointers as they do in the kernel.
    "-Wno-int-to-pointer-cast",
    "-Wno-int-to-void-pointer-cast",
    "-Wno-pointer-to-int-cast",
    "-Wno-void-pointer-to-int-cast",
)

_ENVIRONMENT = ("CPATH", "C_INCLUDE_PATH", "CCC_OVERRIDE_OPTIONS")
"""Variables that change what clang does."""

_OWN_HEADER_BYTES = 256 * 1024
"""A larger header is not a program's own, but a vmlinux.h."""


@dataclass(frozen=True)
class TargetFacts:
    """What of a target matters to the compiler."""

    machine: str
    """`uname -m`"""
    big_endian: bool
    pointer_bits: int
    btf_sha256: str
    """Hex hash of the kernel's raw BTF; empty: the kernel has none, nor is it known here."""
    kernel_release: str = ""
    kernel_has_btf: bool = True
    """False: it was built without, and BTF of it is known here at most."""
    target: str = "local"
    """The target's name, as -t takes it, for texts."""


@dataclass(frozen=True)
class BuildOptions:
    """What a user may choose."""

    cpu: str = "v3"
    """BPF instruction set; "v2" for kernels before 5.1."""
    defines: Mapping[str, str] | None = None
    include_folders: tuple[Path, ...] = ()
    """Searched after the source's own folder."""
    flags: tuple[str, ...] = ()
    """Further flags for clang."""
    use_cache: bool = True
    """False: compile, and remember what came out."""


@dataclass(frozen=True)
class Built:
    """A compiled object."""

    object: bytes
    path: Path
    """A copy in the cache."""
    cached: bool
    """Nothing was compiled."""
    warnings: str
    """What the compiler said, those of an earlier build too; empty: nothing."""
    timings: Mapping[str, float]
    """Seconds by step: "lookup", and when compiled "vmlinux.h", "compile", "store"."""


def build(
    source: str | Path,
    facts: TargetFacts,
    fetch_btf: Callable[[], bytes],
    *,
    options: BuildOptions | None = None,
) -> Built:
    """Compile a BPF C file for a target.

    `fetch_btf` gives the raw BTF of the target's kernel; it is called only when the source
    includes vmlinux.h and no header of that kernel is in the cache. The compiler sees
    `source` as it is given, so that its messages name the file as the user did.

    Raises CompileError with the compiler's words, NoCompiler, NoKernelTypes, BuildError for
    a source or cache folder that cannot be used, and whatever `fetch_btf` raises.
    """
    options = options or BuildOptions()
    begin = time.perf_counter()
    content = _read_source(source)
    try:
        root = cache.folder()
    except OSError as error:
        raise BuildError(
            f"the cache folder cannot be made: {error}; set BPFCTL_CACHE_DIR"
        ) from None
    try:
        return _build(source, content, facts, fetch_btf, options, root, begin)
    except OSError as error:
        raise BuildError(
            f"the cache folder {root} cannot be used: {error.strerror}; make room there, or"
            " set BPFCTL_CACHE_DIR to another folder"
        ) from None


def _build(
    source: str | Path,
    content: bytes,
    facts: TargetFacts,
    fetch_btf: Callable[[], bytes],
    options: BuildOptions,
    root: Path,
    begin: float,
) -> Built:
    compiler = find_compiler(root)
    job = _Job(source, facts, options, compiler)
    inputs = job.inputs(content)
    known = cache.find(root, inputs, facts.btf_sha256) if options.use_cache else None
    timings = {"lookup": time.perf_counter() - begin}
    if known is not None:
        return Built(known.object, known.path, True, known.warnings, timings)
    return job.compile(root, content, inputs, fetch_btf, timings)


class _Job:
    def __init__(
        self, source: str | Path, facts: TargetFacts, options: BuildOptions, compiler: Compiler
    ) -> None:
        self.source = str(source)
        self.facts = facts
        self.compiler = compiler
        arch = architecture(facts.machine)
        defines = {f"__TARGET_ARCH_{arch}": "1"} | dict(options.defines or {})
        if not facts.kernel_has_btf:
            defines = {"BPFD_KERNEL_WITHOUT_BTF": "1"} | defines
        self.folders = [
            os.path.dirname(self.source) or ".",
            *map(str, options.include_folders),
            str(include_folder()),
        ]
        self.narrow = _narrowing() if facts.pointer_bits == 32 else []
        """Makes reads of a 32-bit kernel's pointers and longs right."""
        self.arguments = [
            *compiler.target_flags(facts.big_endian),
            *_FLAGS,
            f"-mcpu={options.cpu}",
            *(f"-D{name}={value}" for name, value in defines.items()),
            *(f"-I{folder}" for folder in self.folders),
            *options.flags,
        ]
        self.system = [f for path in system_folders(arch) for f in ("-idirafter", path)]

    def inputs(self, content: bytes) -> str:
        environment = [(name, os.environ.get(name)) for name in _ENVIRONMENT]
        return cache.key(
            content,
            self.source,
            os.getcwd(),
            self.compiler.command,
            self.compiler.identity,
            self.arguments,
            self.narrow,
            self.system,
            environment,
            self.facts.pointer_bits,
        )

    def compile(
        self,
        root: Path,
        content: bytes,
        inputs: str,
        fetch_btf: Callable[[], bytes],
        timings: dict[str, float],
    ) -> Built:
        import tempfile

        from bpfctl.vmlinux import VMLINUX_H, header_folder

        headers: list[str] = []
        warnings = ""

        def add_headers() -> None:
            begin = time.perf_counter()
            folder = header_folder(root, self.facts.btf_sha256, fetch_btf, self.facts.target)
            headers.extend(("-isystem", str(folder)))
            timings["vmlinux.h"] = time.perf_counter() - begin

        own = any(os.path.exists(os.path.join(path, VMLINUX_H)) for path in self.folders)
        if VMLINUX_H.encode() in content and not own:
            add_headers()
        with tempfile.TemporaryDirectory(prefix=".build-", dir=root) as place:
            started = time.time_ns()
            begin = time.perf_counter()
            code, said = self._run(place, headers)
            if code and not headers and f"'{VMLINUX_H}' file not found" in said:
                add_headers()
                started = time.time_ns()
                begin = time.perf_counter()
                code, said = self._run(place, headers)
            if code and self.narrow:
                narrow, self.narrow = self.narrow, []
                if self._run(place, headers)[0]:
                    # It is not because of these.
                    self.narrow = narrow
                else:
                    code, said = 0, said + _note(self.source, _NOT_NARROWED)
            if code:
                raise CompileError(said, _hint(said))
            files = _dependencies(Path(place, "out.d").read_text(errors="surrogateescape"))
            made = self._with_record_types(place, headers, content, files)
            timings["compile"] = time.perf_counter() - begin
            begin = time.perf_counter()
            data = strip_dwarf(made)
        warnings = said
        if self.narrow and _bypassed(files):
            warnings += _note(self.source, _BYPASSED)
        outcome = cache.store(
            root,
            inputs,
            data,
            warnings,
            files,
            self.facts.btf_sha256 if headers else "",
            started,
        )
        timings["store"] = time.perf_counter() - begin
        return Built(outcome.object, outcome.path, False, warnings, timings)

    def _with_record_types(
        self, place: str, headers: list[str], content: bytes, files: list[str]
    ) -> bytes:
        """The object, with the types of its rings' records in its BTF."""
        from bpfctl.compiler import record_types

        made = Path(place, "out.o").read_bytes()
        folders = {os.path.abspath(folder) for folder in self.folders[:-1]}
        own = [
            Path(file).read_text(errors="replace")
            for file in files
            if os.path.dirname(file) in folders
            and file != os.path.abspath(self.source)
            and os.path.getsize(file) <= _OWN_HEADER_BYTES
        ]
        records = record_types.sent(content.decode(errors="replace"), own)
        if not records or _knows(made, records):
            return made
        wrapper = Path(place, "records.c")
        wrapper.write_bytes(record_types.keeper(self.source, content, records))
        code, _ = self._run(place, headers, str(wrapper), "records")
        return Path(place, "records.o").read_bytes() if code == 0 else made

    def _run(
        self, place: str, headers: list[str], source: str = "", name: str = "out"
    ) -> tuple[int, str]:
        import subprocess

        out = [os.path.join(place, name + suffix) for suffix in (".o", ".d")]
        command = [
            *self.compiler.command,
            *self.narrow,
            *self.arguments,
            *headers,
            *self.system,
            *("-MD", "-MF", out[1], "-c", source or self.source, "-o", out[0]),
        ]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise NoCompiler(f"{command[0]} cannot be started: {error.strerror}") from None
        if done.returncode < 0:
            raise BuildError(f"{command[0]} was killed by signal {-done.returncode}")
        return done.returncode, done.stdout


_NOT_NARROWED = (
    "the target is 32-bit, and this source does not compile with the macros that read its"
    " pointers and longs right; without them they are read as 8 bytes, of which the upper"
    " half is not theirs"
)
_BYPASSED = (
    "the target is 32-bit, and this source has a bpf_core_read.h of its own beside it:"
    " BPF_CORE_READ() of it reads 8 bytes of pointers and longs, of which the upper half is"
    " not theirs; include <bpf/bpf_core_read.h>, or put libbpf's headers where -I finds them"
)


def _note(source: str, text: str) -> str:
    return f"{source}: warning: {text}\n"


def _narrowing() -> list[str]:
    folder = include_folder() / "bpfd" / "target32"
    return ["-include", str(folder / "reads.h"), f"-I{folder}", *_FLAGS_32BIT]


def _bypassed(files: list[str]) -> bool:
    """Whether libbpf's header was included, and not through the one of this name of ours."""
    paths = [path for path in files if path.endswith("bpf_core_read.h")]
    return bool(paths) and not any("/target32/bpf/" in path for path in paths)


def _knows(made: bytes, records: Mapping[str, str]) -> bool:
    """Whether an object's BTF says of each ring what its records are."""
    from bpfctl.btf import Btf
    from bpfctl.elf import InvalidObject, ObjectFile
    from bpfctl.event_types import guess

    try:
        raw = ObjectFile.parse(made).btf
    except InvalidObject:
        return True
    if not raw:
        return True
    btf = Btf.parse(raw)
    guesses = {name: guess(btf, name) for name in records}
    return all(
        found is not None and btf.type(found).name == records[name]
        for name, found in guesses.items()
    )


def _read_source(source: str | Path) -> bytes:
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise BuildError(f"{source}: {error.strerror}") from None


def _dependencies(text: str) -> list[str]:
    """File names of a make rule as -MD writes it, made absolute."""
    rule = text.replace("\\\n", " ").partition(": ")[2]
    names = rule.replace("\\ ", "\0").split()
    plain = (name.replace("\0", " ").replace("$$", "$").replace("\\#", "#") for name in names)
    return list(dict.fromkeys(os.path.abspath(name) for name in plain))


def _hint(said: str) -> str:
    for header, advice in (
        ("bpf/bpf_", "libbpf's headers are missing (Debian: apt install libbpf-dev)"),
        ("linux/", "the kernel's headers are missing (Debian: apt install linux-libc-dev)"),
        ("asm/", "the kernel's headers are missing (Debian: apt install linux-libc-dev)"),
    ):
        if f"fatal error: '{header}" in said and "file not found" in said:
            return advice
    return ""
