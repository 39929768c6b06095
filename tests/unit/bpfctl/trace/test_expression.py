# SPDX-License-Identifier: Apache-2.0
"""Expressions: trees, precedence, and what is said of those that are none."""

from __future__ import annotations

import pytest
from bpfctl.trace import expression as ex
from bpfctl.trace.errors import TraceError


def test_precedence_is_that_of_c() -> None:
    tree = ex.parse("a == 1 and b < 2 + 3 * 4")
    assert isinstance(tree, ex.Binary)
    less = tree.right
    assert isinstance(less, ex.Binary)
    assert less.operator == "<"
    plus = less.right
    assert isinstance(plus, ex.Binary)
    assert plus.operator == "+"
    assert isinstance(plus.right, ex.Binary)
    assert plus.right.operator == "*"


def test_members() -> None:
    assert ex.parse("sk->__sk_common.skc_dport") == ex.Member(
        ex.Member(ex.Name("sk"), "__sk_common"), "skc_dport"
    )


def test_names_and_conjuncts() -> None:
    tree = ex.parse('size > 0x10 and (comm == "curl" or pid == 7)')
    assert ex.names(tree) == {"size", "comm", "pid"}
    assert len(ex.conjuncts(tree)) == 2


def test_lists_are_split_outside_of_brackets_and_texts() -> None:
    assert ex.split('a, str(b), c == "x,y"') == ["a", "str(b)", 'c == "x,y"']


@pytest.mark.parametrize(
    "text",
    [
        *("", "a ==", "(a", "a b", "system(1)", "a->", "1" * 40, '"open', "a == 1;"),
        "(" * 3000 + "a" + ")" * 3000,
        "-" * 3000 + "a",
    ],
)
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(TraceError):
        ex.parse(text)
