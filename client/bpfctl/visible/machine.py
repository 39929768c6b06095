# SPDX-License-Identifier: Apache-2.0
"""One look at a machine, with everything findable by its number."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfd.v1 import common_pb2, links_pb2


class Machine:
    """The answer of `Target.machine`, indexed."""

    def __init__(self, answer: links_pb2.ListAttachmentsResponse) -> None:
        self.answer = answer
        self.programs: dict[int, common_pb2.KernelProgram] = {
            each.id: each for each in answer.programs
        }
        self.maps: dict[int, common_pb2.KernelMap] = {each.id: each for each in answer.maps}
        self.namespaces: dict[int, links_pb2.NetworkNamespace] = {
            each.inode: each for each in answer.namespaces
        }
        self.attachments = list(answer.attachments)
        self._by_program: dict[int, list[links_pb2.Attachment]] = {}
        for each in self.attachments:
            self._by_program.setdefault(each.program_id, []).append(each)

    @property
    def own_namespace(self) -> int:
        """Inode of the daemon's own network namespace; 0: it was not told."""
        return self.answer.namespaces[0].inode if self.answer.namespaces else 0

    def of_program(self, number: int) -> list[links_pb2.Attachment]:
        """Where a program runs."""
        return [each for each in self._by_program.get(number, []) if not each.inherited]

    def program_name(self, number: int) -> str:
        """Empty: it has none, or has gone."""
        program = self.programs.get(number)
        return program.name if program else ""

    def map_name(self, number: int) -> str:
        """Its full name in its object where that is known; empty: it has none."""
        entry = self.maps.get(number)
        return (entry.member or entry.name) if entry else ""

    def namespace_name(self, inode: int) -> str:
        """As a person calls it: its name, or a process in it; empty: the daemon's own."""
        if inode in (0, self.own_namespace):
            return ""
        found = self.namespaces.get(inode)
        if found is None:
            return f"net:[{inode}]"
        return found.name or (f"{found.comm}[{found.pid}]" if found.pid else found.path)
