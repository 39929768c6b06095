# SPDX-License-Identifier: Apache-2.0
"""Events of a trace as rows: functions by name, stacks as names. Pure but for the symbols."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bpfctl.records import RecordReader

if TYPE_CHECKING:
    from bpfctl.btf.codec import Codec
    from bpfctl.btf.parse import ByteOrder
    from bpfctl.wire import EventBatch

Resolve = Callable[[str, int, Sequence[int]], list[str]]
"""("kernel" or "user", pid, addresses with the innermost first) -> names of frames."""

_OWN = ("bpf_prog_", "bpf_trampoline_", "bpf_get_stack", "__bpf_prog_", "trace_call_bpf")


class TraceReader(RecordReader):
    """Reads the events of a generated program."""

    def __init__(
        self,
        codec: Codec,
        byteorder: ByteOrder,
        functions: Sequence[str],
        resolve: Resolve | None = None,
    ) -> None:
        super().__init__(codec, byteorder)
        self._functions = functions
        self._resolve = resolve

    def rows(self, batch: EventBatch) -> list[dict[str, Any]]:
        return [self._row(row) for row in super().rows(batch)]

    def json_lines(self, batch: EventBatch) -> bytes:
        lines = (
            json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"
            for row in self.rows(batch)
        )
        return "".join(lines).encode()

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        index = row.get("function")
        if isinstance(index, int):
            known = index < len(self._functions)
            row["function"] = self._functions[index] if known else str(index)
        if "result" in row:
            row["result"] = row.pop("result")
        caller = row.pop("caller", 0)
        if "kernel_bytes" in row:
            for side in ("kernel", "user"):
                held = row.pop(f"{side}_bytes")
                addresses = row.pop(f"{side}_stack")[: max(0, held) // 8]
                if side == "user":
                    addresses = with_caller(addresses, caller)
                row[f"{side}_stack"] = self._frames(side, row["pid"], addresses)
        return row

    def _frames(self, side: str, pid: int, addresses: Sequence[int]) -> list[str]:
        if self._resolve is None or not addresses:
            return [f"{address:#x}" for address in addresses]
        names = self._resolve(side, pid, addresses)
        while side == "kernel" and names and names[0].startswith(_OWN):
            # What the probe itself runs is no part of what is traced.
            names = names[1:]
        return names


def with_caller(addresses: Sequence[int], caller: int) -> Sequence[int]:
    """A user stack at the entry of a function, with its caller. Pure.

    The kernel walks by frame pointers, and the function has not set its own up yet, so that the
    caller is passed over. Newer kernels find it where the entry is a push of the frame pointer
    (is_uprobe_at_func_entry() of arch/x86/events/core.c).
    """
    if not caller or not addresses or caller in addresses[1:2]:
        return addresses
    return [addresses[0], caller, *addresses[1:]]
