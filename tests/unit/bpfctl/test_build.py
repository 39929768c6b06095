# SPDX-License-Identifier: Apache-2.0
"""Building: what the compiler is told, what the cache notices, what errors say."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bpfctl.build import (
    BuildError,
    BuildOptions,
    Built,
    CompileError,
    NoCompiler,
    NoKernelTypes,
    TargetFacts,
    build,
)
from bpfctl.compiler.clang import _zig, architecture, find_compiler
from bpfctl.compiler.strip import strip_dwarf
from bpfctl.elf import ObjectFile

from tests.clang import CLANG

ZIG = shutil.which("zig") or _zig()

FACTS = TargetFacts("x86_64", big_endian=False, pointer_bits=64, btf_sha256="")

HEADER = "#define ANSWER 1\n"
SOURCE = """#include "answer.h"
__attribute__((section("xdp"), used)) int answer(void *ctx) { return ANSWER; }
"""


def no_btf() -> bytes:
    raise AssertionError("the BTF was fetched")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(folder))
    monkeypatch.delenv("BPFCTL_CLANG", raising=False)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    if not CLANG:
        pytest.skip("needs clang")
    (tmp_path / "answer.h").write_text(HEADER)
    path = tmp_path / "answer.bpf.c"
    path.write_text(SOURCE)
    return path


def age(*paths: Path) -> None:
    """Make the files look as if they had been written an hour ago."""
    for path in paths:
        os.utime(path, (path.stat().st_mtime - 3600,) * 2)


def returned(built: Built) -> int:
    """What the only program returns: the immediate of its first instruction."""
    sections = subprocess.run(
        ["readelf", "-x", "xdp", str(built.path)], capture_output=True, text=True, check=True
    ).stdout
    first = next(line for line in sections.splitlines() if line.strip().startswith("0x"))
    return int.from_bytes(bytes.fromhex(first.split()[2]), "little")


def refuse(*arguments: object, **options: object) -> None:
    raise AssertionError(f"a process was started: {arguments}")


def test_the_second_build_starts_no_process(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(source, FACTS, no_btf)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    second = build(source, FACTS, no_btf)
    assert not first.cached
    assert second.cached
    assert second.object == first.object == second.path.read_bytes()
    assert set(first.timings) == {"lookup", "compile", "store"}
    assert set(second.timings) == {"lookup"}


def test_a_changed_header_is_noticed_and_the_old_state_is_known(source: Path) -> None:
    header = source.parent / "answer.h"
    age(source, header)
    assert returned(build(source, FACTS, no_btf)) == 1
    header.write_text("#define ANSWER 2\n")
    changed = build(source, FACTS, no_btf)
    assert not changed.cached
    assert returned(changed) == 2
    header.write_text(HEADER)
    again = build(source, FACTS, no_btf)
    assert again.cached
    assert returned(again) == 1


def test_a_header_changed_within_one_time_stamp_is_noticed(source: Path) -> None:
    header = source.parent / "answer.h"
    times = header.stat()
    build(source, FACTS, no_btf)
    header.write_text("#define ANSWER 2\n")
    os.utime(header, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert returned(build(source, FACTS, no_btf)) == 2


def test_a_touched_header_is_not_a_change(source: Path) -> None:
    header = source.parent / "answer.h"
    build(source, FACTS, no_btf)
    age(header)
    assert build(source, FACTS, no_btf).cached
    assert build(source, FACTS, no_btf).cached


def test_a_header_that_is_gone_is_an_error(source: Path) -> None:
    build(source, FACTS, no_btf)
    (source.parent / "answer.h").unlink()
    with pytest.raises(CompileError, match=r"'answer\.h' file not found"):
        build(source, FACTS, no_btf)


def test_flags_and_targets_do_not_share_objects(source: Path) -> None:
    assert not build(source, FACTS, no_btf).cached
    big = build(source, TargetFacts("s390x", True, 64, ""), no_btf)
    assert not big.cached
    assert ObjectFile.parse(big.object).big_endian
    v2 = BuildOptions(cpu="v2")
    assert not build(source, FACTS, no_btf, options=v2).cached
    assert build(source, FACTS, no_btf, options=v2).cached
    assert not build(source, FACTS, no_btf, options=BuildOptions(use_cache=False)).cached


def test_the_targets_architecture_is_defined(source: Path) -> None:
    source.write_text("#ifndef __TARGET_ARCH_arm64\n#error not arm64\n#endif\n" + SOURCE)
    assert build(source, TargetFacts("aarch64", False, 64, ""), no_btf).object
    with pytest.raises(CompileError, match=r"answer\.bpf\.c:2:2: error: not arm64"):
        build(source, FACTS, no_btf)


def test_defines_and_include_folders(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other folder"
    other.mkdir()
    (other / "more.h").write_text("#define MORE (FROM_OPTION + 1)\n")
    source.write_text("#include <more.h>\n" + SOURCE.replace("ANSWER;", "MORE;"))
    options = BuildOptions(defines={"FROM_OPTION": "6"}, include_folders=(other,))
    assert returned(build(source, FACTS, no_btf, options=options)) == 7
    assert build(source, FACTS, no_btf, options=options).cached
    (other / "more.h").write_text("#define MORE 9\n")
    assert returned(build(source, FACTS, no_btf, options=options)) == 9


def test_errors_are_the_compilers_own(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write_text(SOURCE.replace("ANSWER;", "ANSWR;"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CompileError) as caught:
        build("answer.bpf.c", FACTS, no_btf)
    assert caught.value.output.startswith("answer.bpf.c:2:70: error: use of undeclared")
    with pytest.raises(BuildError, match=r"none\.bpf\.c: No such file"):
        build("none.bpf.c", FACTS, no_btf)


def test_warnings_come_from_the_cache_too(source: Path) -> None:
    source.write_text(SOURCE.replace("return", "int unused; return"))
    first = build(source, FACTS, no_btf)
    second = build(source, FACTS, no_btf)
    assert "warning: unused variable 'unused'" in first.warnings
    assert second.cached
    assert second.warnings == first.warnings


def test_a_missing_libbpf_header_says_what_to_install(source: Path) -> None:
    source.write_text('#include "bpf/bpf_nonsense.h"\n')
    with pytest.raises(CompileError, match="apt install libbpf-dev"):
        build(source, FACTS, no_btf)


def test_damaged_cache_entries_are_as_good_as_absent(source: Path, cache: Path) -> None:
    good = build(source, FACTS, no_btf)
    for name in ("objects", "manifests", "compilers"):
        for path in (cache / name).iterdir():
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
        again = build(source, FACTS, no_btf)
        assert again.object == good.object
        assert build(source, FACTS, no_btf).cached
    for path in (cache / "manifests").iterdir():
        path.write_bytes(path.read_bytes().replace(b"answer", b"answre"))
    assert not build(source, FACTS, no_btf).cached


def test_a_cache_folder_that_cannot_be_made(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(source / "below-a-file"))
    with pytest.raises(BuildError, match="set BPFCTL_CACHE_DIR"):
        build(source, FACTS, no_btf)


def test_builds_at_the_same_time(source: Path, cache: Path) -> None:
    results: list[Built] = []
    options = BuildOptions(use_cache=False)
    threads = [
        threading.Thread(
            target=lambda: results.append(build(source, FACTS, no_btf, options=options))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.object for result in results}) == 1
    assert len(results) == 4
    assert build(source, FACTS, no_btf).cached
    left = list(cache.rglob(".*"))
    assert left == []


def test_dwarf_is_dropped_and_btf_kept(source: Path) -> None:
    built = build(source, FACTS, no_btf)
    parsed = ObjectFile.parse(built.object)
    assert parsed.line_at("xdp", 0) is not None
    sections = subprocess.run(
        ["readelf", "-SW", str(built.path)], capture_output=True, text=True, check=True
    ).stdout
    for line in sections.splitlines():
        if ".debug_" in line:
            assert line.split("]")[1].split()[4] == "000000"
    assert strip_dwarf(built.object) == built.object


def test_the_import_is_cheap() -> None:
    heavy = {"elftools", "numpy", "google", "grpc", "rich", "subprocess", "platformdirs"}
    script = "import sys, bpfctl.build; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    modules = {name.partition(".")[0] for name in done.stdout.split()}
    assert "bpfctl" in modules
    assert not heavy & modules


def test_architectures() -> None:
    names = {
        machine: architecture(machine)
        for machine in ("x86_64", "i686", "aarch64", "armv7l", "riscv64", "ppc64le", "s390x")
    }
    assert names == {
        "x86_64": "x86",
        "i686": "x86",
        "aarch64": "arm64",
        "armv7l": "arm",
        "riscv64": "riscv",
        "ppc64le": "powerpc",
        "s390x": "s390",
    }


def fake(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_no_clang(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("bpfctl.compiler.clang._zig", lambda: None)
    with pytest.raises(NoCompiler, match=r"clang 16 or newer is needed\. Install it"):
        build(source, FACTS, no_btf)
    fake(tmp_path / "bin/clang", "echo 'Debian clang version 14.0.6'")
    with pytest.raises(NoCompiler, match="clang is version 14"):
        build(source, FACTS, no_btf)
    fake(tmp_path / "bin/clang-17", "exit 1")
    with pytest.raises(NoCompiler, match=r"clang-17 does not run\)"):
        build(source, FACTS, no_btf)


def test_the_newest_named_clang_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    fake(tmp_path / "bin/clang", "echo 'clang version 14.0.6'")
    fake(tmp_path / "bin/clang-16", "echo 'clang version 16.0.6'")
    newest = fake(tmp_path / "bin/clang-19", "echo 'Ubuntu clang version 19.1.1'")
    assert find_compiler(tmp_path).command == (str(newest),)


def test_a_wrong_override_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFCTL_CLANG", "/no/such/clang")
    with pytest.raises(NoCompiler, match="'/no/such/clang', which is no program"):
        build(source, FACTS, no_btf)
    monkeypatch.setenv("BPFCTL_CLANG", "true")
    with pytest.raises(NoCompiler, match="not a clang that runs"):
        build(source, FACTS, no_btf)


def test_a_compiler_that_was_replaced_compiles_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = fake(tmp_path / "bin/clang", f'exec {CLANG} "$@"')
    monkeypatch.setenv("BPFCTL_CLANG", str(wrapper))
    build(source, FACTS, no_btf)
    assert build(source, FACTS, no_btf).cached
    age(wrapper)
    assert not build(source, FACTS, no_btf).cached


def test_vmlinux_is_an_error_without_btf(source: Path) -> None:
    source.write_text('#include "vmlinux.h"\n' + SOURCE)
    with pytest.raises(NoKernelTypes, match=r"CONFIG_DEBUG_INFO_BTF.*beside the source"):
        build(source, FACTS, no_btf)
    (source.parent / "vmlinux.h").write_text("")
    assert build(source, FACTS, no_btf).object


@pytest.mark.skipif(ZIG is None, reason="needs zig (extra zig)")
def test_zig_compiles_too(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFCTL_CLANG", f"{ZIG} cc")
    built = build(source, FACTS, no_btf)
    parsed = ObjectFile.parse(built.object)
    assert [program.name for program in parsed.programs] == ["answer"]
    assert parsed.line_at("xdp", 0) is not None
    assert b".eh_frame" not in built.object
    assert build(source, FACTS, no_btf).cached


@pytest.mark.skipif(not CLANG, reason="needs clang with a BPF target")
def test_headers_of_the_c_library_that_sources_include(tmp_path: Path) -> None:
    if not Path("/usr/include/errno.h").exists():
        pytest.skip("needs the headers of the C library")
    source = tmp_path / "libc.bpf.c"
    source.write_text(
        "#include <errno.h>\n#include <stdint.h>\nint x(void) { return EEXIST; }\n"
    )
    for machine, bits in (("x86_64", 64), ("aarch64", 64), ("armv7l", 32)):
        assert build(source, TargetFacts(machine, False, bits, ""), no_btf).warnings == ""
