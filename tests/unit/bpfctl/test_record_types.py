# SPDX-License-Identifier: Apache-2.0
"""The structs that a source sends, found in it and kept by the compiler."""

from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl.btf import Btf, Codec
from bpfctl.build import TargetFacts, build
from bpfctl.compiler.record_types import sent
from bpfctl.elf import ObjectFile
from bpfctl.event_types import guess

from tests.clang import CLANG

FACTS = TargetFacts("x86_64", big_endian=False, pointer_bits=64, btf_sha256="")

HEADER = "struct sample { int pid; char comm[16]; };\nstruct other { long a; };\n"
SOURCE = """
#include "sample.h"
#define SEC(name) __attribute__((section(name), used))
typedef unsigned long long __u64;
static void *(*bpf_ringbuf_reserve)(void *, __u64, __u64) = (void *)131;
static void (*bpf_ringbuf_submit)(void *, __u64) = (void *)132;
struct { int (*type)[27]; int (*max_entries)[4096]; } rb SEC(".maps"), rest SEC(".maps");
SEC("xdp") int f(void *ctx)
{
	struct sample *e;
	struct other *o = bpf_ringbuf_reserve(&rest, sizeof(struct other), 0);

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (e) {
		e->pid = 1;
		bpf_ringbuf_submit(e, 0);
	}
	if (o)
		bpf_ringbuf_submit(o, 0);
	return 2;
}
"""


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("struct event *e; e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);", {"rb": "event"}),
        ("struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);", {"rb": "event"}),
        ("struct event *a, *e; e = bpf_ringbuf_reserve(&rb, sizeof *e, 0);", {"rb": "event"}),
        ("return bpf_ringbuf_reserve( &rb , sizeof(struct drop), 0);", {"rb": "drop"}),
        ("struct event v = {}; bpf_ringbuf_output(&rb, &v, sizeof(v), 0);", {"rb": "event"}),
        (
            "f(struct data_t *d) { bpf_perf_event_output(c, &events, F,\n d, sizeof(*d)); }",
            {"events": "data_t"},
        ),
        (
            (
                "struct a x; struct b *y = bpf_ringbuf_reserve(&q, n, 0);\n"
                "bpf_perf_event_output(ctx, &p, F(1, 2), &x, sizeof(x));"
            ),
            {"p": "a", "q": "b"},
        ),
        ("struct a x; bpf_ringbuf_output(&r, &x, 4, 0); /* struct b x; */", {"r": "a"}),
        (
            (
                "struct a x; struct b y; bpf_ringbuf_output(&r, &x, 4, 0);"
                "bpf_ringbuf_output(&r, &y, 4, 0);"
            ),
            {},
        ),
        ("e = bpf_ringbuf_reserve(rb, sizeof(*e), 0); bpf_ringbuf_output(&rb", {}),
        ("// struct a *e; e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);", {}),
        ('"bpf_ringbuf_reserve(&rb, sizeof(struct a), 0)"', {}),
        ("__u64 *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);", {}),
    ],
)
def test_what_a_source_sends(source: str, found: dict[str, str]) -> None:
    assert sent(source) == found


COMPAT = """
static void *reserve_buf(__u64 size)
{
	if (bpf_core_type_exists(struct bpf_ringbuf)) { return 0; }
	return bpf_ringbuf_reserve(&events, size, 0);
}
static long submit_buf(void *ctx, void *buf, __u64 size)
{
	return bpf_perf_event_output(ctx, &copies, F, buf, size);
}
"""


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("struct a *e; e = reserve_buf(sizeof(*e));", {"events": "a"}),
        ("struct a *e; submit_buf(ctx, e, sizeof(*e));", {"copies": "a"}),
        ("struct a *e = reserve_buf(sizeof(struct b));", {"events": "b"}),
        ("e = reserve_buf(4); submit_buf(ctx, e);", {}),
    ],
)
def test_what_a_source_sends_by_functions_of_its_headers(
    source: str, found: dict[str, str]
) -> None:
    assert sent(source, [COMPAT]) == found
    assert sent(COMPAT + source) == found
    assert sent(source) == {}


@pytest.mark.skipif(not CLANG, reason="needs clang")
def test_headers_beside_the_source_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path / "cache"))
    begin = SOURCE.index("#define SEC")
    end = SOURCE.index('SEC("xdp")')
    wrapper = (
        "static inline void *reserve_buf(__u64 size)\n"
        "{ return bpf_ringbuf_reserve(&rb, size, 0); }\n"
    )
    (tmp_path / "sample.h").write_text(HEADER + SOURCE[begin:end] + wrapper)
    path = tmp_path / "sample.bpf.c"
    body = SOURCE[end:].replace("bpf_ringbuf_reserve(&rb, sizeof(*e), 0)", "reserve_buf(20)")
    path.write_text('#include "sample.h"\n' + body)
    btf = Btf.parse(ObjectFile.parse(build(path, FACTS, bytes).object).btf)
    type_id = guess(btf, "rb")
    assert type_id is not None
    assert btf.type(type_id).name == "sample"


@pytest.mark.skipif(not CLANG, reason="needs clang")
def test_the_types_are_in_the_objects_btf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "sample.h").write_text(HEADER)
    path = tmp_path / "sample.bpf.c"
    path.write_text(SOURCE)
    built = build(path, FACTS, bytes)
    parsed = ObjectFile.parse(built.object)
    assert [program.name for program in parsed.programs] == ["f"]
    assert {entry.name for entry in parsed.maps} == {"rb", "rest"}
    btf = Btf.parse(parsed.btf)
    for name, struct, size in (("rb", "sample", 20), ("rest", "other", 8)):
        type_id = guess(btf, name)
        assert type_id is not None
        assert btf.type(type_id).name == struct
        assert Codec(btf, type_id).size == size
    lines = {line.file for lines in parsed.lines.values() for line in lines}
    assert lines == {str(path)}


@pytest.mark.skipif(not CLANG, reason="needs clang")
def test_what_was_misread_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "sample.h").write_text(HEADER)
    path = tmp_path / "sample.bpf.c"
    # A struct of that name is there only for the preprocessor's other side.
    path.write_text(SOURCE + "#if 0\nstruct gone *g = bpf_ringbuf_reserve(&x, 1, 0);\n#endif\n")
    built = build(path, FACTS, bytes)
    assert [program.name for program in ObjectFile.parse(built.object).programs] == ["f"]
    assert built.warnings == ""
