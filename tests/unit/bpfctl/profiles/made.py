# SPDX-License-Identifier: Apache-2.0
"""Profiles for the tests of all formats."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from bpfctl.profiles.model import Frame, Profile, Sample
from hypothesis import strategies as st

MAIN = Frame("main", "/usr/bin/app", "app.c", 10, 0x401000)
PARSE = Frame("parse(char const*)", "/usr/bin/app", "parse.cc", 20, 0x401100)
SKIP = Frame("skip_space", "/usr/bin/app", "scan.h", 30, 0x401100, inlined=True)
READ = Frame("__libc_read", "/lib/libc.so.6", "", 0, 0x7F0000001000)
ENTRY = Frame("do_syscall_64", "[kernel]", "", 0, 0xFFFFFFFF81000010, kind="kernel")
FILTER = Frame("nft_do_chain", "[nf_tables]", "", 0, 0xFFFFFFFFC0000020, kind="kernel")
JIT = Frame("LazyCompile:~handle", "[jit]", "", 0, 0x3000_0000)
NAMELESS = Frame("", "/usr/bin/app", "", 0, 0x402FFF, offset=0x2FFF)


def small() -> Profile:
    """Of each kind of frame one."""
    return Profile(
        samples=[
            Sample((MAIN, PARSE, SKIP), 50, 7, 0, "app"),
            Sample((MAIN, PARSE), 20, 7, 0, "app"),
            Sample((MAIN, READ, ENTRY, FILTER), 15, 7, 0, "app"),
            Sample((MAIN, JIT), 10, 8, 0, "node"),
            Sample((MAIN, NAMELESS), 5, 7, 0, "app"),
        ],
        unit="samples",
        period=10_101_010,
        duration_s=2.5,
        started=datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC),
        missed={"stacks found no room": 3},
        target="board",
        title="CPU samples, 99 Hz of app",
        build_ids={"/usr/bin/app": "0123456789abcdef"},
    )


def large(stacks: int, depth: int = 30, seed: int = 1) -> Profile:
    """Of so many different stacks, with frames shared as symbols share them."""
    chance = random.Random(seed)
    frames = [
        Frame(
            f"function_{n}(int, char const*)", f"/usr/lib/lib{n % 20}.so", f"f{n % 300}.c", n, n
        )
        for n in range(5000)
    ]
    samples = []
    for n in range(stacks):
        shared = frames[: chance.randrange(depth)]
        own = chance.choices(frames, k=depth - len(shared))
        samples.append(Sample((*shared, *own), chance.randrange(1, 50), n % 40 + 1, 0, "app"))
    return Profile(samples, period=10_101_010, duration_s=30.0, target="board", title="large")


HARD = """a;b|a\nb|f 12|f 1.5| ||_[k]|x _[i]|a 1_[k]|größe|界|\udc80|</script><b>|<!--|a\tb\
|\u2028|operator()(int) const|]]>|%s|0|a&amp;b|"quoted"|'one'|\\"""
"""Names that break one format or another; divided by bars."""

NAMES = st.one_of(st.text(max_size=12), st.sampled_from(HARD.split("|")))
FRAMES = st.builds(
    Frame,
    name=NAMES,
    module=st.sampled_from(["", "/bin/a", "/lib/b.so", "[jit]", "/x </script>.so"]),
    file=st.sampled_from(["", "a.c", "dir/b;c.rs"]),
    line=st.integers(0, 2**31),
    address=st.integers(0, 2**64 - 1),
    inlined=st.booleans(),
)
SAMPLES = st.builds(
    Sample,
    stack=st.lists(FRAMES, max_size=8).map(tuple),
    value=st.integers(0, 2**50),
    pid=st.integers(0, 2**22),
    tid=st.integers(0, 2**22),
    comm=NAMES,
)
PROFILES = st.builds(
    Profile,
    samples=st.lists(SAMPLES, max_size=6),
    unit=st.sampled_from(["samples", "nanoseconds", "bytes", "faults"]),
    period=st.integers(0, 10**9),
    missed=st.dictionaries(NAMES, st.integers(0, 1000), max_size=2),
    title=NAMES,
    target=NAMES,
)
