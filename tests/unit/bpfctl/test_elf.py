# SPDX-License-Identifier: Apache-2.0
"""Object files: what is found in a good one, and what is said of a bad one."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from bpfctl.elf import InvalidObject, ObjectFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clang import CLANG

needs_clang = pytest.mark.skipif(not CLANG, reason="needs clang")

SOURCE = """
typedef unsigned int __u32;
typedef unsigned long long __u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, type) typeof(type) *name

struct task { int first; struct { __u32 pid; __u32 cells[4]; } inner; }
    __attribute__((preserve_access_index));
enum state { OPEN, CLOSED };

struct {
    __uint(type, 1);
    __uint(max_entries, 100);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

char LICENSE[] SEC("license") = "GPL";
const volatile __u32 sample_every = 5;
const volatile char interface[16] = "eth0";
__u64 total = 7;
int zero;
int custom SEC(".data.custom") = 3;

static __attribute__((noinline)) int helper(int value)
{
    zero += value;
    return value + zero;
}

SEC("xdp")
int first(void *ctx)
{
    total += sample_every;
    return helper(custom) + interface[total & 15];
}

SEC("xdp")
int second(struct task *ctx)
{
    return ctx->inner.cells[2] +
           __builtin_preserve_enum_value(*(typeof(enum state) *)CLOSED, 1);
}

SEC("?tp/sched/sched_switch")
int third(void *ctx)
{
    return 0;
}
"""


PLAIN = """
long total;
__attribute__((section("xdp"), used)) int first(void *ctx) { return total++; }
"""


def compile_source(folder: Path, source: str, *flags: str) -> bytes:
    path = folder / "sample.bpf.c"
    path.write_text(source)
    out = folder / "sample.o"
    command = [CLANG, "-g", "-O2", "-target", "bpf", *flags, "-c", str(path), "-o", str(out)]
    subprocess.run(command, check=True)
    return out.read_bytes()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    if not CLANG:
        pytest.skip("needs clang")
    return compile_source(tmp_path_factory.mktemp("elf"), SOURCE)


def line_of(text: str) -> int:
    return next(n for n, line in enumerate(SOURCE.splitlines(), 1) if text in line)


def test_programs_and_subprograms(sample: bytes) -> None:
    parsed = ObjectFile.parse(sample)
    assert [(program.name, program.section) for program in parsed.programs] == [
        ("first", "xdp"),
        ("second", "xdp"),
        ("third", "?tp/sched/sched_switch"),
    ]
    assert [function.name for function in parsed.subprograms] == ["helper"]
    first, second = parsed.programs[:2]
    assert first.start == 0
    assert second.start == first.instructions
    assert second.offset == first.size == first.instructions * 8
    assert parsed.program("third") == parsed.programs[2]
    assert parsed.program("none") is None
    assert parsed.license == "GPL"


def test_maps(sample: bytes) -> None:
    maps = {entry.name: entry for entry in ObjectFile.parse(sample).maps}
    assert set(maps) == {"counts", ".rodata", ".data", ".data.custom", ".bss"}
    assert maps["counts"].kind == "map"
    assert maps[".rodata"].kind == "data"
    assert maps[".rodata"].size == 20


def test_variables_and_constants(sample: bytes) -> None:
    parsed = ObjectFile.parse(sample)
    variable = parsed.variable("sample_every")
    assert (variable.map, variable.size) == (".rodata", 4)
    assert parsed.initial("sample_every") == struct.pack("<I", 5)
    assert parsed.initial("zero") == bytes(4)
    assert parsed.initial("interface").rstrip(b"\0") == b"eth0"
    assert parsed.types is not None
    assert parsed.types.describe(parsed.variable("total").type_id) == "__u64"
    assert parsed.encode("sample_every", 258) == b"\x02\x01\0\0"
    assert parsed.encode("zero", -1) == b"\xff" * 4
    assert parsed.encode("interface", "veth0") == b"veth0".ljust(16, b"\0")
    with pytest.raises(ValueError, match="does not fit in the 4 bytes of sample_every"):
        parsed.encode("sample_every", 2**32)
    with pytest.raises(ValueError, match="interface holds 15 bytes of text, not 16"):
        parsed.encode("interface", "x" * 16)
    with pytest.raises(ValueError, match="interface has 16 bytes and is not a number"):
        parsed.encode("interface", 1)
    with pytest.raises(LookupError, match="'sample_evry'; did you mean sample_every"):
        parsed.variable("sample_evry")


def test_source_lines(sample: bytes) -> None:
    parsed = ObjectFile.parse(sample)
    helper = parsed.line_at(".text", parsed.subprograms[0].start)
    assert helper is not None
    assert helper.file.endswith("sample.bpf.c")
    third = parsed.line_at("?tp/sched/sched_switch", 1)
    assert third is not None
    assert third.line == line_of("return 0;")
    assert third.text.strip() == "return 0;"
    assert third.column == 5
    assert parsed.line_at("none", 0) is None


def test_core_relocations_are_named(sample: bytes) -> None:
    relocations = ObjectFile.parse(sample).core_relocations["xdp"]
    assert [relocation.what for relocation in relocations] == [
        "struct task.inner.cells[2]",
        "enumerator state.CLOSED",
    ]


@needs_clang
def test_big_endian_objects(tmp_path: Path) -> None:
    parsed = ObjectFile.parse(compile_source(tmp_path, SOURCE, "-target", "bpfeb"))
    assert parsed.big_endian
    assert parsed.encode("sample_every", 258) == b"\0\0\x01\x02"
    line = parsed.line_at("?tp/sched/sched_switch", 0)
    assert line is not None
    assert line.line == line_of("return 0;")


@needs_clang
def test_no_debug_info(tmp_path: Path) -> None:
    parsed = ObjectFile.parse(compile_source(tmp_path, PLAIN, "-g0"))
    assert parsed.types is None
    assert parsed.lines == {}
    assert parsed.variable("total").type_id == 0
    assert parsed.license == ""


@needs_clang
def test_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(InvalidObject, match=r"no programs and no maps: .* SEC"):
        ObjectFile.parse(compile_source(tmp_path, "int f(void) { return 0; }"))
    old = '__attribute__((section("maps"), used)) struct { int type; } old = {1};'
    with pytest.raises(InvalidObject, match="maps of the old kind"):
        ObjectFile.parse(compile_source(tmp_path, old))


def test_a_stripped_symbol_table_is_said(sample: bytes) -> None:
    data = bytearray(sample)
    start, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    for at in range(start, start + 64 * count, 64):
        if struct.unpack_from("<I", data, at + 4)[0] == 2:  # SHT_SYMTAB
            struct.pack_into("<I", data, at + 4, 1)  # SHT_PROGBITS
    with pytest.raises(InvalidObject, match=r"no symbol table.*llvm-strip -g"):
        ObjectFile.parse(bytes(data))


def test_what_is_not_an_object() -> None:
    with pytest.raises(InvalidObject, match="empty"):
        ObjectFile.parse(b"")
    with pytest.raises(InvalidObject, match="a text: C sources are built first"):
        ObjectFile.parse(SOURCE.encode())
    with pytest.raises(InvalidObject, match="not an ELF file: it must be"):
        ObjectFile.parse(b"BZh9" + bytes(range(256)))


def test_other_machines_and_kinds(sample: bytes) -> None:
    with pytest.raises(InvalidObject, match=r"for .*\(EM_.*\), not for BPF: compile"):
        ObjectFile.parse(Path(sys.executable).read_bytes())
    arm = sample[:18] + struct.pack("<H", 40) + sample[20:]
    with pytest.raises(InvalidObject, match=r"\(EM_ARM\), not for BPF"):
        ObjectFile.parse(arm)
    nothing = sample[:18] + struct.pack("<H", 60000) + sample[20:]
    with pytest.raises(InvalidObject, match="for machine 60000, not for BPF"):
        ObjectFile.parse(nothing)
    with pytest.raises(InvalidObject, match="a shared object, not a relocatable object"):
        ObjectFile.parse(sample[:16] + struct.pack("<H", 3) + sample[18:])
    with pytest.raises(InvalidObject, match="32-bit"):
        ObjectFile.parse(sample[:4] + b"\1" + sample[5:])


def test_too_large(sample: bytes) -> None:
    with pytest.raises(InvalidObject, match=r"has 200.0 MiB and 64.0 MiB are allowed"):
        ObjectFile.parse(sample.ljust(200 << 20, b"\0"))
    with pytest.raises(InvalidObject, match="1000 bytes are allowed"):
        ObjectFile.parse(sample, limit=1000)


def look_at_everything(data: bytes) -> None:
    parsed = ObjectFile.parse(data)
    for function in (*parsed.programs, *parsed.subprograms):
        parsed.line_at(function.section, function.start)
    for name in parsed.variables:
        parsed.initial(name)
    assert parsed.core_relocations is not None


def test_truncation_is_said_anywhere(sample: bytes) -> None:
    for length in range(0, len(sample) - 1, 7):
        with pytest.raises(InvalidObject, match=r"truncated|empty|not an ELF"):
            ObjectFile.parse(sample[:length])


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_raises_nothing_else(sample: bytes, data: st.DataObject) -> None:
    damaged = bytearray(sample)
    header = len(sample) - 64 * struct.unpack_from("<H", sample, 60)[0]
    for _ in range(data.draw(st.integers(1, 4))):
        low = data.draw(st.sampled_from([0, header, sample.index(b"\x9f\xeb"), 64]))
        place = data.draw(st.integers(low, min(low + 2000, len(sample) - 8)))
        chunk = data.draw(st.binary(min_size=1, max_size=8))
        damaged[place : place + len(chunk)] = chunk
    try:
        look_at_everything(bytes(damaged))
    except InvalidObject as error:
        said = str(error)
    else:
        said = "still readable: fine"
    assert ":" in said
