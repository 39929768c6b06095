# SPDX-License-Identifier: Apache-2.0
"""`bpfctl map push|pop|peek`: maps without keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation

if TYPE_CHECKING:
    from bpfctl.maps import Map
    from bpfctl.target import Target

_MAP = "MAP is OBJECT/NAME, a kernel id, the path of a pin, or a name that is unique."
_NUMBERS = {"ignore_unknown_options": True}
_AT_ONCE = 65536


@click.command(epilog=_MAP, context_settings=_NUMBERS)
@click.argument("name", metavar="MAP")
@click.argument("values", metavar="VALUE...", nargs=-1)
@click.option(
    "--from",
    "file",
    type=click.File("r", encoding="utf-8", errors="replace"),
    help="Values as JSON, one a line; - is standard input.",
)
@click.option(
    "--type", "type_name", default="", metavar="STRUCT", help="User rings: type of a record."
)
@common_options()
@pass_invocation
def push(
    invocation: Invocation, name: str, values: tuple[str, ...], file: Any, type_name: str
) -> None:
    """Put values into a queue, a stack, a bloom filter or a user ring buffer.

    Records of a user ring buffer go to the programs that drain it; their type is found as
    that of events is. A struct is typed as "field=value field=value".
    """
    if bool(values) == (file is not None):
        raise click.UsageError("say VALUE..., or --from FILE")
    from bpfd.v1 import common_pb2

    lines = [] if file is None else file.readlines()

    def write(target: Target) -> None:
        entry = target.map(name)
        wanted: Iterable[object] = values if file is None else _lines(lines)
        if entry.info.type == common_pb2.MAP_TYPE_USER_RINGBUF:
            from bpfctl.user_ring import submit

            count = submit(entry, wanted, type_name)
        else:
            count = _push(entry, wanted)
        if file is not None:
            invocation.warn(f"{count} values written", target)

    invocation.each(write)


def _push(entry: Map, values: Iterable[object]) -> int:
    count, remaining = 0, iter(values)
    while some := list(islice(remaining, _AT_ONCE)):
        count += entry.push(some)
    return count


def _lines(file: Iterable[str]) -> Iterator[object]:
    import json

    from bpfctl.errors import InvalidArgument

    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError:
                raise InvalidArgument(f"line {number}", "not one value as JSON") from None


@click.command(epilog=_MAP)
@click.argument("name", metavar="MAP")
@click.option("--count", type=click.IntRange(1), default=1, help="So many values at most.")
@common_options()
@pass_invocation
def pop(invocation: Invocation, name: str, count: int) -> None:
    """Take values out of a queue or stack, in its order."""
    with invocation.connect() as target:
        entry = target.map(name)
        _show(invocation, entry, entry.pop(min(count, entry.info.max_entries or count)))


def _show(invocation: Invocation, entry: Map, values: list[Any]) -> None:
    if invocation.format == "table":
        for value in values:
            click.echo(entry.value.format(value))
    else:
        invocation.output.rows({"value": value} for value in values)


@click.command(epilog=_MAP, context_settings=_NUMBERS)
@click.argument("name", metavar="MAP")
@click.argument("values", metavar="[VALUE...]", nargs=-1)
@common_options()
@pass_invocation
def peek(invocation: Invocation, name: str, values: tuple[str, ...]) -> None:
    """The next value of a queue or stack, which stays there.

    Of a bloom filter: whether it may have each VALUE; a "no" is certain, a "yes" is not.
    """
    from bpfd.v1 import common_pb2

    with invocation.connect() as target:
        entry = target.map(name)
        bloom = entry.info.type == common_pb2.MAP_TYPE_BLOOM_FILTER
        if bloom != bool(values):
            raise click.UsageError(
                "say VALUE...: a bloom filter only tells whether it has one"
                if bloom
                else "VALUE is for bloom filters"
            )
        if not bloom:
            _show(invocation, entry, [entry.peek()])
            return
        rows = [
            {"value": entry.value.decode(entry.value.encode(value)), "found": found}
            for value, found in zip(values, entry.contains(values), strict=True)
        ]
        if invocation.format == "table" and len(rows) == 1:
            click.echo("yes" if rows[0]["found"] else "no")
        else:
            invocation.output.rows(rows)
