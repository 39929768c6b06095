# SPDX-License-Identifier: Apache-2.0
"""Rows as a table for people, or as JSON, JSON lines, YAML or CSV for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import StringIO
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Literal, TextIO

from bpfctl.printable import printable

Format = Literal["table", "json", "jsonl", "yaml", "csv"]
FORMATS: tuple[Format, ...] = ("table", "json", "jsonl", "yaml", "csv")

Row = Mapping[str, Any]

_WIDTHS_FROM = 200
"""Rows of a stream that a table's column widths are taken from at most."""


class Output:
    """Writes to `file` (None: standard output as it is then) in one format."""

    def __init__(self, format: Format = "table", file: TextIO | None = None) -> None:
        self.format = format
        self._file = file

    @property
    def file(self) -> TextIO:
        return self._file or sys.stdout

    def rows(self, rows: Iterable[Row], columns: Sequence[str] | None = None) -> None:
        """Every row, as they come. `columns` are those of a table; None: of the first row.

        Other formats write every field of a row. An empty table says nothing.
        """
        if self.format == "table":
            _table(self.file, rows, columns)
        elif self.format == "csv":
            _csv(self.file, rows, columns)
        else:
            with RowStream(self) as stream:
                for row in rows:
                    stream.write(row)
        self.file.flush()

    def record(self, row: Row) -> None:
        """One thing with its fields."""
        if self.format == "table":
            _fields(self.file, row, 0)
        elif self.format == "json":
            self.file.write(json.dumps(row, default=plain, ensure_ascii=False, indent=2) + "\n")
        elif self.format == "yaml":
            self.file.write(_yaml(dict(row)))
        else:
            self.rows([row])
        self.file.flush()

    def stream(self, columns: Sequence[str] | None = None) -> RowStream:
        """A writer of rows that come one by one; each is flushed."""
        return RowStream(self, columns, flush=True)


class RowStream:
    """Writes rows one by one; a context manager that closes what the format opened."""

    def __init__(
        self, output: Output, columns: Sequence[str] | None = None, *, flush: bool = False
    ) -> None:
        self._format = output.format
        self._file = output.file
        self._columns = columns
        self._flush = flush
        self._count = 0
        self._widths: dict[str, int] = {}
        self._csv: _CsvWriter | None = None

    def write(self, row: Row) -> None:
        """One row."""
        if self._format == "table":
            self._table_line(row)
        elif self._format == "csv":
            if self._csv is None:
                self._csv = _CsvWriter(self._file, row)
            self._csv.write(row)
        elif self._format == "yaml":
            self._file.write(_yaml([dict(row)]))
        else:
            text = json.dumps(row, default=plain, ensure_ascii=False, separators=(",", ":"))
            if self._format == "json":
                text = ("[\n" if self._count == 0 else ",\n") + text
                self._file.write(text)
            else:
                self._file.write(text + "\n")
        self._count += 1
        if self._flush:
            self._file.flush()

    def _table_line(self, row: Row) -> None:
        columns = self._columns or list(row)
        cells = {name: cell(row.get(name)) for name in columns}
        if self._count == 0:
            self._widths = {name: max(len(name), len(cells[name])) for name in columns}
            self._columns = columns
            header = {name: name.upper() for name in columns}
            self._file.write(self._line(header))
        for name, text in cells.items():
            self._widths[name] = max(self._widths[name], len(text))
        self._file.write(self._line(cells))

    def _line(self, cells: Mapping[str, str]) -> str:
        padded = (text.ljust(self._widths[name]) for name, text in cells.items())
        return "  ".join(padded).rstrip() + "\n"

    def __enter__(self) -> RowStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._format == "json" and (kind is None or self._count):
            self._file.write("[]\n" if self._count == 0 else "\n]\n")
        elif self._format == "yaml" and self._count == 0 and kind is None:
            self._file.write("[]\n")
        self._file.flush()


def plain(value: Any) -> Any:
    """What JSON has no word for: bytes as hexadecimal, numpy's numbers as Python's."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def cell(value: Any) -> str:
    """A value in a table: short, on one line."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_inner(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ",".join(_inner(item) for item in value)
    return printable(str(value))


def _inner(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + cell(value) + "}"
    if isinstance(value, list | tuple):
        return "[" + cell(value) + "]" if value else "[]"
    return cell(value)


def _table(file: TextIO, rows: Iterable[Row], columns: Sequence[str] | None) -> None:
    """A table: as wide as its first rows, later ones may stand out."""
    remaining = iter(rows)
    first = list(islice(remaining, _WIDTHS_FROM))
    if not first:
        return
    names = list(columns or first[0])
    if file.isatty() and len(first) < _WIDTHS_FROM:
        _rich_table(names, first)
        return
    cells = [[cell(row.get(name)) for name in names] for row in first]
    widths = [
        max(len(name), *(len(line[index]) for line in cells))
        for index, name in enumerate(names)
    ]
    lines = chain(
        [[name.upper() for name in names]],
        cells,
        ([cell(row.get(name)) for name in names] for row in remaining),
    )
    for line in lines:
        file.write(
            "  ".join(
                text.ljust(width) for text, width in zip(line, widths, strict=True)
            ).rstrip()
            + "\n"
        )


def _rich_table(names: list[str], rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name.upper(), overflow="fold")
    for row in rows:
        # Text: square brackets of the data are not rich's markup.
        table.add_row(*(Text(cell(row.get(name))) for name in names))
    Console().print(table)


def _fields(file: TextIO, row: Row, indent: int) -> None:
    """ "name: value" lines; lists of records as small tables of their own."""
    shown = {name: value for name, value in row.items() if value not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    space = " " * indent
    for name, value in shown.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            file.write(f"{space}{name}:\n")
            table = StringIO()
            _table(table, value, None)
            file.writelines(
                f"{space}  {line}" for line in table.getvalue().splitlines(keepends=True)
            )
        elif isinstance(value, Mapping):
            file.write(f"{space}{name}:\n")
            _fields(file, value, indent + 2)
        else:
            file.write(f"{space}{name.ljust(width)}  {cell(value)}\n")


def _yaml(value: Any) -> str:
    import yaml

    simple = json.loads(json.dumps(value, default=plain, ensure_ascii=False))
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(simple, Dumper=dumper, sort_keys=False, allow_unicode=True))


def _csv(file: TextIO, rows: Iterable[Row], columns: Sequence[str] | None) -> None:
    remaining = iter(rows)
    first = next(remaining, None)
    if first is None:
        if columns:
            file.write(",".join(columns) + "\n")
        return
    writer = _CsvWriter(file, first)
    writer.write_all(chain([first], remaining))


class _CsvWriter:
    """Structs become a column for each field, "value.packets"; columns are the first row's."""

    def __init__(self, file: TextIO, first: Row) -> None:
        import csv

        self._names = [name for name, _ in flatten(first)]
        self._cells_of = _reader(first)
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(self._names)

    def write(self, row: Row) -> None:
        """One row."""
        self._writer.writerow(self._cells(row))

    def write_all(self, rows: Iterable[Row]) -> None:
        """Many rows."""
        self._writer.writerows(map(self._cells, rows))

    def _cells(self, row: Row) -> Sequence[Any]:
        try:
            cells = self._cells_of(row)
        except (KeyError, TypeError):
            cells = ()
        if len(cells) == len(self._names) and _NESTED.isdisjoint(map(type, cells)):
            return cells
        # A row of another form than the first one, or with lists in it.
        fields = dict(flatten(row))
        return [fields.get(name, "") for name in self._names]


_NESTED = frozenset((dict, list, tuple, bytes, bytearray, memoryview))


def _reader(sample: Row) -> Callable[[Row], Sequence[Any]]:
    """Gives the fields of rows that are like `sample`, in the order of `flatten`."""
    parts = [
        (name, _reader(value) if isinstance(value, Mapping) else None)
        for name, value in sample.items()
    ]
    if len(parts) > 1 and not any(inner for _, inner in parts):
        return itemgetter(*sample)

    def read(row: Row) -> list[Any]:
        cells: list[Any] = []
        for name, inner in parts:
            if inner is None:
                cells.append(row[name])
            else:
                cells.extend(inner(row[name]))
        return cells

    return read


def flatten(row: Row, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Fields of a nested row by their path."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", json.dumps(value, default=plain, separators=(",", ":"))
        elif isinstance(value, bytes | bytearray | memoryview):
            yield f"{prefix}{name}", bytes(value).hex()
        else:
            yield f"{prefix}{name}", value
