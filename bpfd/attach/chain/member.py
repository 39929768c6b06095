# SPDX-License-Identifier: Apache-2.0
"""Who is in a chain of XDP programs, as the chain's own BTF tells it.

A chain is one program in the kernel. Each member stands in it as a declaration tag of the
main function, so that whoever sees the program can tell what it is made of: `bpftool btf dump`,
another tool, and the daemon that starts after this one was killed. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bpfd.attach.chain import btf as chain_btf

NAME = "bpfd_xdp_chain"
"""Of the program, and of its main function."""

ACTIONS = ("aborted", "drop", "pass", "tx", "redirect")
"""enum xdp_action."""

PASS = 2

_TAG = re.compile(
    r"bpfd:member priority=(\d+) proceed_on=([0-4:]+) program=(\d+) "
    r"owner=(pinned|session) name=(\S*) link=(\S*)"
)


@dataclass(frozen=True)
class Member:
    """A program's place in a chain."""

    priority: int
    proceed_on: tuple[int, ...]
    """Return codes on which the next one runs, ascending."""
    program_id: int
    """The program as it was loaded by itself."""
    program: str
    link: str = ""
    """Of the daemon; "" where none was said."""
    pinned: bool = False
    """Whether its link outlives the daemon."""

    def __str__(self) -> str:
        codes = ", ".join(ACTIONS[code] for code in self.proceed_on)
        link = f" by link {self.link}" if self.link else ""
        return f"{self.priority}: {self.program}{link}, goes on after {codes}"

    def tag(self) -> str:
        """As text for the chain's BTF; `from_tag` is the way back."""
        codes = ":".join(map(str, self.proceed_on))
        owner = "pinned" if self.pinned else "session"
        name = re.sub(r"\s", "_", self.program)
        return (
            f"bpfd:member priority={self.priority} proceed_on={codes} "
            f"program={self.program_id} owner={owner} name={name} link={self.link}"
        )


def from_tag(text: str) -> Member | None:
    """The member that a tag tells of; None: it is another tag."""
    found = _TAG.fullmatch(text)
    if found is None:
        return None
    codes = tuple(int(code) for code in found[2].split(":") if code)
    return Member(int(found[1]), codes, int(found[3]), found[5], found[6], found[4] == "pinned")


def members_in(btf: bytes) -> tuple[Member, ...]:
    """The members that a chain's BTF tells of, first to run first. Raises ValueError."""
    types = list(chain_btf.parse(btf))
    chains = {
        each.number
        for each in types
        if chain_btf.kind_of(each.info) == chain_btf.FUNC and each.name == NAME
    }
    tags = (
        from_tag(each.name)
        for each in types
        if chain_btf.kind_of(each.info) == chain_btf.DECL_TAG and each.third in chains
    )
    return tuple(sorted((tag for tag in tags if tag is not None), key=lambda tag: tag.priority))
