# SPDX-License-Identifier: Apache-2.0
"""What a chain says of itself, and reads back."""

from __future__ import annotations

import pytest

from bpfd.attach.chain import btf as chain_btf
from bpfd.attach.chain.member import NAME, Member, from_tag, members_in

MEMBERS = [
    Member(1, (2,), 7, "one"),
    Member(4_294_967_295, (0, 1, 2, 3, 4), 1 << 31, "two.half", "object/two-2", True),
]


@pytest.mark.parametrize("member", MEMBERS)
def test_there_and_back(member: Member) -> None:
    assert from_tag(member.tag()) == member


def test_a_name_with_spaces_does_not_break_the_tag() -> None:
    found = from_tag(Member(1, (2,), 7, "a link=b").tag())
    assert found is not None
    assert (found.program, found.link) == ("a_link=b", "")


@pytest.mark.parametrize("text", ["", "bpfd:format=ipv4", "bpfd:member priority=x"])
def test_other_tags_are_none(text: str) -> None:
    assert from_tag(text) is None


def test_only_tags_of_the_chain_count() -> None:
    btf = chain_btf.Merged()
    prototype = btf.type(chain_btf.FUNC_PROTO)
    other = btf.type(chain_btf.FUNC, "other", prototype)
    main = btf.type(chain_btf.FUNC, NAME, prototype)
    btf.type(chain_btf.DECL_TAG, MEMBERS[1].tag(), main, 0xFFFFFFFF)
    btf.type(chain_btf.DECL_TAG, MEMBERS[0].tag(), main, 0xFFFFFFFF)
    btf.type(chain_btf.DECL_TAG, Member(2, (2,), 3, "x").tag(), other, 0xFFFFFFFF)
    btf.type(chain_btf.DECL_TAG, "something else", main, 0xFFFFFFFF)
    assert members_in(btf.data()) == tuple(MEMBERS)


def test_for_people() -> None:
    assert str(MEMBERS[0]) == "1: one, goes on after pass"
    assert "by link object/two-2, goes on after aborted, drop, pass" in str(MEMBERS[1])
