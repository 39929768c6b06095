# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.btf import BtfValueError
from bpfctl.btf.text import Quoted, assignments, inside, items, quote, split_path, unquote
from hypothesis import given
from hypothesis import strategies as st


@given(st.text())
def test_quoted_text_comes_back(text: str) -> None:
    assert unquote(quote(text), "") == text
    ((path, value),) = assignments(f"a={quote(text)}", "")
    assert (path, str(value)) == (("a",), text)


def test_words_stand_as_they_are() -> None:
    assert quote("curl") == "curl"
    assert quote("two words") == '"two words"'
    assert quote("hex:00") == '"hex:00"'
    assert quote("") == '""'


def test_assignments() -> None:
    text = 'a=1, b.c = 2\td[3]={x=1 y=[1, 2]},e="a b" f=02:00::1'
    assert list(assignments(text, "")) == [
        (("a",), "1"),
        (("b", "c"), "2"),
        (("d", 3), "{x=1 y=[1, 2]}"),
        (("e",), "a b"),
        (("f",), "02:00::1"),
    ]
    assert isinstance(next(assignments('a="1"', ""))[1], Quoted)


@pytest.mark.parametrize("text", ["a", "a=1 b", "=1", "a={", "a={]", 'a="', 'a="b"c', "1=2"])
def test_what_is_no_assignment(text: str) -> None:
    with pytest.raises(BtfValueError) as caught:
        list(assignments(text, "whole"))
    assert caught.value.field == "whole"


def test_items() -> None:
    assert list(items(' 1, {a=1 b=2} ,"x,y",[3,4] ', "")) == ["1", "{a=1 b=2}", "x,y", "[3,4]"]
    assert list(items("", "")) == []


def test_brackets_around_the_whole() -> None:
    assert inside("{a=1}", "{", "") == "a=1"
    assert inside("a=1", "{", "") is None
    assert inside(Quoted("{a}"), "{", "") is None
    with pytest.raises(BtfValueError, match="behind the closing"):
        inside("{a} b", "{", "")
    with pytest.raises(BtfValueError, match="more than 32 brackets"):
        inside("[" * 100, "[", "")


def test_paths() -> None:
    assert split_path("a.b[2][3].c") == ("a", "b", 2, 3, "c")
    assert split_path("a[x]") == ("a", "[x]")
    assert split_path("a[" + "9" * 5000 + "]")[1] != 9
