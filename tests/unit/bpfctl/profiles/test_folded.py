# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.errors import InvalidArgument
from bpfctl.profiles import folded
from bpfctl.profiles.model import Frame, Profile, Sample
from hypothesis import given

from tests.unit.bpfctl.profiles import made

SMALL = """\
app;main;parse(char const*);skip_space_[i] 50
app;main;parse(char const*) 20
app;main;__libc_read;do_syscall_64_[k];nft_do_chain_[k] 15
node;main;LazyCompile:~handle_[j] 10
app;main;app+0x2fff 5
"""


def test_stacks_are_lines() -> None:
    assert "".join(folded.write(made.small())) == SMALL


def test_lines_are_stacks() -> None:
    read = folded.read(SMALL)
    assert read.total == 100
    assert read.samples[2].stack[-1] == Frame("nft_do_chain", kind="kernel")
    assert read.samples[0].stack[-1].inlined
    assert "".join(folded.write(read)) == SMALL


@given(made.PROFILES)
def test_what_is_read_is_what_was_written(profile: Profile) -> None:
    lines = "".join(folded.write(profile))
    read = folded.read(lines)
    assert read.total == profile.total
    assert sorted(folded.write(read)) == sorted(lines.splitlines(keepends=True))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a;b", "a:b 1\n"),
        ("a\nb", "a\\nb 1\n"),
        ("", "0x0 1\n"),
        (" ", "[unknown] 1\n"),
        # difffolded.pl's second number
        ("f 12", "f_12 1\n"),
        ("größe", "größe 1\n"),
        ("\udc80", "\\udc80 1\n"),
    ],
)
def test_names_that_would_break_the_format(name: str, written: str) -> None:
    assert "".join(folded.write(Profile([Sample((Frame(name),), 1)]))) == written


@pytest.mark.parametrize("depth", [127, 1000])
def test_deep_stacks(depth: int) -> None:
    stack = tuple(Frame(f"f{n}") for n in range(depth))
    [line] = folded.write(Profile([Sample(stack, 2)]))
    assert line.count(";") == depth - 1
    assert folded.read(line).samples == [Sample(stack, 2)]


def test_threads_that_were_told_apart_stay_so() -> None:
    samples = [Sample((made.MAIN,), 1, 7, tid, "app") for tid in (7, 9)]
    assert list(folded.write(Profile(samples))) == ["app-7/7;main 1\n", "app-7/9;main 1\n"]


def test_values_of_others_may_have_a_fraction_and_lines_a_return() -> None:
    read = folded.read("# a comment\r\na;b 1.6\r\n\r\na 2\r\n")
    assert [sample.value for sample in read.samples] == [2, 2]
    assert len(read.samples[0].stack) == 2


@pytest.mark.parametrize("line", ["a;b", "a;b x", " 5", "12", "a -3", "a ²"])
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(InvalidArgument, match="line 2"):
        folded.read(f"a 1\n{line}\n")
