# SPDX-License-Identifier: Apache-2.0
"""Addresses of processes as frames."""

from __future__ import annotations

from pathlib import Path

from bpfctl.symbols import Frame, Mapping, Process, Symbolizer
from bpfctl.symbols.store import Store

from .built import address, build, needs_clang, stripped
from .target_double import BASE, facts, map_file, process_of
from .test_kernel import TargetDouble, target


def test_memory_without_a_file_is_called_what_it_is() -> None:
    process = Process(
        70,
        "node",
        (
            Mapping(0x1000, 0x2000),
            Mapping(0x3000, 0x4000, path="[vdso]"),
            Mapping(0x5000, 0x6000, path="/memfd:doublemapper (deleted)", inode=9),
        ),
    )
    texts = {
        "/proc/70/status": b"NSpid:\t70\n",
        "/proc/70/root/tmp/perf-70.map": b"1000 10 first\n5000 10 second\n9000 10 younger\n",
    }
    with Symbolizer(target(TargetDouble(texts=texts))) as symbolizer:
        found = symbolizer.user(process, [0x1004, 0x1800, 0x3010, 0x5001, 0x9001, 0xB000])
    frames = [frame for (frame,) in found]
    assert [(frame.name, frame.module) for frame in frames] == [
        ("first", "[jit]"),
        ("", "[anonymous]"),
        ("", "[vdso]"),
        ("second", "[jit]"),
        ("younger", "[jit]"),
        ("", "[unknown]"),
    ]
    assert [frame.text for frame in frames[1:3]] == ["[anonymous]+0x800", "[vdso]+0x10"]
    assert frames[5].text == "0xb000"
    assert (frames[0].offset, frames[0].address) == (4, 0x1004)


@needs_clang
def test_a_stripped_binary_with_the_stores_lines(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    binary = build(tmp_path / "build" / "lib.so")
    bare = stripped(binary, tmp_path / "bare.so")
    process = process_of(bare)
    double = TargetDouble(paths={map_file(process): bare})
    begin = BASE + address(binary, "outer")
    with Symbolizer(target(double)) as symbolizer:
        ((frame,),) = symbolizer.user(process, [BASE + address(binary, "hidden")])
        assert frame.name == ""
        assert frame.text.startswith("lib.so+0x")
    Store(system=None).add(tmp_path / "build")
    with Symbolizer(target(double)) as symbolizer:
        every = symbolizer.user(process, range(begin, begin + 48))
        deep = next(frames for frames in every if len(frames) == 3)
        assert [(frame.name, frame.inlined) for frame in deep] == [
            ("leaf", True),
            ("middle", True),
            ("outer", False),
        ]
        assert all(frame.module == "/usr/lib/lib.so" and frame.line > 0 for frame in deep)
        assert len({frame.address for frame in deep}) == 1
        stack = symbolizer.user_stack(process, [begin, begin])
        assert next(frame.name for frame in stack if not frame.inlined) == "outer"
        assert symbolizer.user_stack(process, []) == ()
        build_id = bytes.fromhex(facts(binary).build_id)
        segment = next(each for each in facts(binary).segments if each.executable)
        offset = address(binary, "hidden") - segment.address + segment.offset
        ((by_id,), (unknown,)) = symbolizer.by_build_id(
            [(build_id.ljust(20, b"\0"), offset), (b"\x11" * 20, 64)]
        )
        assert by_id.name == "hidden"
        assert unknown == Frame("", "11" * 20, offset=64)
        assert unknown.text == f"{'11' * 20}+0x40"
