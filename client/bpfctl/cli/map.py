# SPDX-License-Identifier: Apache-2.0
"""`bpfctl map`: every map of the kernel, keys and values typed by BTF."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup
from bpfctl.cli.progress import counted
from bpfctl.printable import printable

if TYPE_CHECKING:
    from bpfctl.btf import Codec
    from bpfctl.maps import Encoded, Map, Mode
    from bpfctl.target import Target
    from bpfd.v1 import common_pb2

COLUMNS = (
    *("id", "type", "name", "bytes_key", "bytes_value", "max_entries", "bytes_memlock"),
    *("object", "pinned", "pids", "programs"),
)

_MAP = "MAP is OBJECT/NAME, a kernel id, the path of a pin, or a name that is unique."

_NUMBERS = {"ignore_unknown_options": True}
"""So that -5 is a key or a value."""


@click.group(
    cls=LazyGroup,
    entries={
        "list": Entry("map", "Every map of the kernel.", "list_maps"),
        "show": Entry("map", "One map.", "show"),
        "dump": Entry("map", "Every entry.", "dump"),
        "get": Entry("map", "The values of keys.", "get"),
        "set": Entry("map", "Write entries.", "set_entries"),
        "delete": Entry("map", "Remove entries.", "delete"),
        "push": Entry("map_queue", "Put values into queues, filters, rings.", "push"),
        "pop": Entry("map_queue", "Take values out of a queue or stack.", "pop"),
        "peek": Entry("map_queue", "The next value; whether a filter has one.", "peek"),
        "watch": Entry("map_watch", "What changes, as it changes.", "watch"),
        "create": Entry("map_create", "Make a map.", "create"),
    },
    epilog=_MAP,
)
def command() -> None:
    """Maps of the kernel, those of others too."""


plain_option = click.option(
    "--plain", is_flag=True, help="Numbers where addresses and ports would be shown."
)
pid_option = click.option(
    "--pid",
    type=click.IntRange(0),
    default=0,
    help="Stacks of user space: the process whose symbols they are read by.",
)
type_option = click.option(
    "--type", "type_name", default="", metavar="STRUCT", help="Arenas: type of the value."
)
per_cpu_option = click.option(
    "--per-cpu", is_flag=True, help="The value of each CPU in place of their sum."
)


@click.command("list")
@click.option("--type", "kind", metavar="TYPE", help="Only maps of this type, as in `hash`.")
@common_options()
@pass_invocation
def list_maps(invocation: Invocation, kind: str | None) -> None:
    """Every map of the kernel, whoever made it."""
    from bpfctl.listing import map_row

    def each(target: Target) -> list[dict[str, Any]]:
        found = [map_row(entry) for entry in target.maps(owners=True)]
        add_programs(found, target.programs())
        return found

    rows = invocation.rows_of_each(each)
    rows = [row for row in rows if kind in (None, row["type"])]
    if invocation.format == "table":
        rows = [row | {"programs": _few(row.get("programs", []))} for row in rows]
    invocation.output.rows(rows, invocation.columns(COLUMNS))


def _few(names: list[str]) -> str:
    from bpfctl.visible.programs import shortened

    return shortened(names, 3)


def add_programs(
    rows: list[dict[str, Any]], programs: Iterable[common_pb2.KernelProgram]
) -> None:
    """Names of the programs that use each map."""
    users: dict[int, list[str]] = {}
    for program in programs:
        for number in program.map_ids:
            users.setdefault(number, []).append(program.name or str(program.id))
    for row in rows:
        if row["id"] in users:
            row["programs"] = users[row["id"]]


@click.command(epilog=_MAP)
@click.argument("name", metavar="MAP")
@common_options()
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """One map, with the types of its keys and values."""
    from bpfctl.listing import map_row

    def row(target: Target) -> dict[str, Any]:
        entry = target.map(name)
        key, value = entry.type_names
        found = map_row(entry.info) | {"key_type": key, "value_type": value}
        add_programs([found], target.programs())
        return found

    invocation.records(invocation.each(row))


@click.command(epilog=_MAP)
@click.argument("name", metavar="MAP")
@per_cpu_option
@plain_option
@pid_option
@common_options()
@pass_invocation
def dump(invocation: Invocation, name: str, per_cpu: bool, plain: bool, pid: int) -> None:
    """Every entry, as they come. Values that are programs or maps have their names beside
    their ids."""
    with invocation.connect() as target:
        entry = target.map(name)
        entry.plain, entry.stack_pid = plain, pid
        if invocation.format in ("json", "jsonl") and entry.in_bulk:
            _dump_json(
                counted(
                    entry.json_lines(per_cpu=per_cpu),
                    lambda lines: lines.count(b"\n"),
                    entry.info.max_entries,
                    "entries",
                ),
                array=invocation.format == "json",
            )
        elif invocation.format == "table":
            invocation.output.rows(table_rows(entry, entry.rows(per_cpu=per_cpu)))
        else:
            rows = entry.rows(per_cpu=per_cpu)
            total = entry.info.max_entries
            invocation.output.rows(counted(rows, lambda _: 1, total, "entries"))


def _dump_json(pieces: Iterable[bytes], *, array: bool) -> None:
    """Lines of JSON as they are, or as the items of an array."""
    out = sys.stdout.buffer
    before = b"[\n"
    for lines in pieces:
        if array:
            out.write(before)
            before = b",\n"
            # A newline in a text is written as \n in JSON: each of these ends an entry.
            lines = lines[:-1].replace(b"\n", b",\n")
        out.write(lines)
    if array:
        out.write(b"[]\n" if before == b"[\n" else b"\n]\n")
    out.flush()


def table_rows(entry: Map, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Entries with a column for each field of a struct."""
    for row in rows:
        named = {"name": row["name"]} if "name" in row else {}
        yield {
            **_columns("key", entry.key, row["key"]),
            **_columns("value", entry.value, row["value"]),
            **named,
        }


def _columns(name: str, codec: Codec, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {f"{name}.{field}": item for field, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {name: [codec.format(item) for item in value]}
    return {name: value}


@click.command(epilog=_MAP, context_settings=_NUMBERS)
@click.argument("name", metavar="MAP")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@per_cpu_option
@plain_option
@pid_option
@type_option
@common_options()
@pass_invocation
def get(
    invocation: Invocation,
    name: str,
    keys: tuple[str, ...],
    per_cpu: bool,
    plain: bool,
    pid: int,
    type_name: str,
) -> None:
    """The values of keys. A struct is typed as "field=value field=value".

    Keys of storage maps are pid:123, socket:PID/FD, cgroup:PATH or path:FILE, those of an
    arena OFFSET+BYTES, or OFFSET with --type.
    """
    from bpfctl import arena

    def read(entry: Map) -> list[dict[str, Any]]:
        entry.plain, entry.stack_pid = plain, pid
        names = entry.value_names()
        rows = []
        for key in keys:
            value = entry.get(key, per_cpu=per_cpu)
            named = {"name": names(value)} if names else {}
            rows.append({"key": entry.shown_key(key), "value": value, **named})
        return rows

    def read_one_of_several(target: Target) -> list[dict[str, Any]]:
        entry = target.map(name)
        rows = read(entry)
        return list(table_rows(entry, rows)) if invocation.format == "table" else rows

    if invocation.several:
        invocation.output.rows(invocation.rows_of_each(read_one_of_several))
        return
    with invocation.connect() as target:
        entry = target.map(name)
        if arena.is_arena(entry):
            entry.plain, entry.stack_pid = plain, pid
            _get_arena(invocation, entry, keys, type_name)
            return
        rows = read(entry)
        if invocation.format == "table" and len(rows) == 1:
            _print_value(entry, rows[0]["value"], rows[0].get("name", ""))
        elif invocation.format == "table":
            invocation.output.rows(table_rows(entry, rows))
        else:
            invocation.output.rows(rows)


def _get_arena(
    invocation: Invocation, entry: Map, keys: tuple[str, ...], type_name: str
) -> None:
    from bpfctl import arena

    rows = [{"key": key, "value": arena.get(entry, key, type_name)} for key in keys]
    codec = arena.codec_of(entry, type_name)
    if invocation.format == "table" and len(rows) == 1:
        value = rows[0]["value"]
        click.echo(codec.format(value) if codec else str(value))
    else:
        invocation.output.rows(rows)


def _print_value(entry: Map, value: Any, name: str) -> None:
    """`name`: of the program or map whose id is in the value; empty: there is none."""
    if entry.per_cpu and isinstance(value, list):
        for cpu, item in enumerate(value):
            click.echo(f"cpu {cpu}: {entry.value.format(item)}")
    elif isinstance(value, list) and entry.is_stacks:
        for frame in value:
            click.echo(printable(frame))
    else:
        fields = isinstance(value, dict) and not entry.value.fields
        text = (
            " ".join(f"{field}={item}" for field, item in value.items())
            if fields
            else entry.value.format(value)
        )
        click.echo(f"{text}  {printable(name)}" if name else text)


@click.command("set", epilog=_MAP, context_settings=_NUMBERS)
@click.argument("name", metavar="MAP")
@click.argument("key", required=False)
@click.argument("value", required=False)
@click.option(
    "--from",
    "file",
    type=click.File("r", encoding="utf-8", errors="replace"),
    help="Entries as `map dump -o jsonl` writes them, one a line; - is standard input.",
)
@click.option("--create", is_flag=True, help="Refuse a key that exists.")
@click.option("--replace", is_flag=True, help="Refuse a key that does not exist.")
@plain_option
@type_option
@common_options()
@pass_invocation
def set_entries(
    invocation: Invocation,
    name: str,
    key: str | None,
    value: str | None,
    file: Any,
    create: bool,
    replace: bool,
    plain: bool,
    type_name: str,
) -> None:
    """Write one entry, or those of a file.

    A struct is typed as "field=value field=value"; what is not given is zero. In a per-CPU
    map every CPU gets the value. A program or map is OBJECT/NAME, a name of the map's own
    object, an id or a pin; a socket is socket:PID/FD, an interface eth0[,netns=NAME]
    [,program=NAME], a CPU's queue its size[,program=NAME], a counter cpu-clock[,pid=PID].
    """
    from bpfctl import arena

    if (value is None) if file is None else (key is not None):
        raise click.UsageError("say KEY and VALUE, or --from FILE")
    if create and replace:
        raise click.UsageError("--create and --replace exclude each other")
    mode: Mode = "create" if create else "replace" if replace else "any"
    entries = [] if file is None else file.readlines()

    def write(target: Target) -> None:
        entry = target.map(name)
        entry.plain = plain
        if arena.is_arena(entry):
            if file is not None:
                raise click.UsageError("an arena has no entries: say OFFSET and VALUE")
            arena.put(entry, key or "", value or "", type_name)
        elif file is None:
            entry.set(key, value, mode)
        else:
            count = entry.update(_entries(entry, entries), mode)
            invocation.warn(f"{count} entries written", target)

    invocation.each(write)


def _entries(entry: Map, file: Iterable[str]) -> Iterator[Encoded]:
    """Entries of lines; what is wrong with one is said with its number."""
    import json

    from bpfctl.btf.errors import BtfValueError
    from bpfctl.errors import InvalidArgument, NotFound

    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, value = row["key"], row["value"]
        except (ValueError, KeyError, TypeError):
            raise InvalidArgument(
                f"line {number}", 'not {"key": ..., "value": ...} on one line'
            ) from None
        try:
            yield entry.encoded(key, value)
        except (BtfValueError, InvalidArgument, NotFound) as error:
            raise InvalidArgument(f"line {number}", str(error)) from None


@click.command(epilog=_MAP, context_settings=_NUMBERS)
@click.argument("name", metavar="MAP")
@click.argument("keys", metavar="[KEY...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every entry.")
@plain_option
@common_options()
@pass_invocation
def delete(
    invocation: Invocation, name: str, keys: tuple[str, ...], everything: bool, plain: bool
) -> None:
    """Remove entries."""
    if everything == bool(keys):
        raise click.UsageError("say KEY..., or --all")

    def remove(target: Target) -> None:
        entry = target.map(name)
        entry.plain = plain
        if everything:
            invocation.warn(f"{entry.clear()} entries removed", target)
        for key in keys:
            entry.delete(key)

    invocation.each(remove)
