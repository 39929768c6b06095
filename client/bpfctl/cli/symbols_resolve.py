# SPDX-License-Identifier: Apache-2.0
"""`bpfctl symbols resolve`: addresses as functions and lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation

if TYPE_CHECKING:
    from bpfctl.symbols.symbolizer import Frames, Symbolizer


@click.command()
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.option("--pid", type=click.IntRange(1), help="Process whose addresses they are.")
@click.option("--kernel", "of_kernel", is_flag=True, help="They are of the kernel.")
@click.option("--build-id", metavar="HEX", help="They are offsets in the file of a build id.")
@click.option("--stack", is_flag=True, help="A stack, innermost first: calls, not returns.")
@common_options()
@pass_invocation
def command(
    invocation: Invocation,
    addresses: tuple[str, ...],
    pid: int | None,
    of_kernel: bool,
    build_id: str | None,
    stack: bool,
) -> None:
    """Addresses of a target as functions, files and lines; what is inlined comes first.

    ADDRESS is hexadecimal, with 0x or without; - reads them from standard input.
    """
    from bpfctl.cli.progress import shown
    from bpfctl.cli.symbols import frame_rows
    from bpfctl.symbols import Symbolizer

    if sum((pid is not None, of_kernel, build_id is not None)) != 1:
        raise click.UsageError("say --pid PID, --kernel or --build-id HEX")
    numbers = _numbers(addresses)
    with invocation.connect() as target, shown() as progress:
        symbolizer = Symbolizer(target, progress)
        found = [
            frames
            for some, returns in _sorts(numbers, stack)
            for frames in _resolved(symbolizer, some, pid, build_id, returns)
        ]
        notes = symbolizer.notes
    columns = ["address", "function", "file", "line", "module"]
    if invocation.format == "table":
        invocation.output.rows(_table(found), columns)
    else:
        invocation.output.rows(frame_rows(found))
    for note in notes:
        invocation.warn(note)


def _numbers(texts: tuple[str, ...]) -> list[int]:
    words = sys.stdin.read().split() if texts == ("-",) else list(texts)
    try:
        found = [int(word, 16) for word in words]
    except ValueError as error:
        raise click.UsageError(f"ADDRESS is hexadecimal: {error}") from None
    if any(not 0 <= each < 1 << 64 for each in found):
        raise click.UsageError("ADDRESS has at most 64 bits")
    return found


def _sorts(numbers: list[int], stack: bool) -> list[tuple[list[int], bool]]:
    """(addresses, whether calls return to them)."""
    return [(numbers[:1], False), (numbers[1:], True)] if stack else [(numbers, False)]


def _resolved(
    symbolizer: Symbolizer,
    numbers: list[int],
    pid: int | None,
    build_id: str | None,
    returns: bool,
) -> list[Frames]:
    from bpfctl.errors import NotFound

    if build_id is not None:
        try:
            wanted = bytes.fromhex(build_id)
        except ValueError:
            raise click.UsageError("--build-id is hexadecimal") from None
        symbolizer.snapshot()
        return symbolizer.by_build_id([(wanted, each) for each in numbers], returns=returns)
    if pid is None:
        return symbolizer.kernel(numbers, returns=returns)
    process = symbolizer.snapshot([pid]).get(pid)
    if process is None:
        raise NotFound("process", str(pid))
    return symbolizer.user(process, numbers, returns=returns)


def _table(found: list[Frames]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for frames in found:
        for number, frame in enumerate(frames):
            name = frame.text if not frame.name else frame.name
            rows.append(
                {
                    "address": f"{frame.address:#x}" if number == 0 else "",
                    "function": f"{name} (inlined)" if frame.inlined else name,
                    "file": frame.file,
                    "line": frame.line or "",
                    "module": frame.module,
                }
            )
    return rows
