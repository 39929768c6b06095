# SPDX-License-Identifier: Apache-2.0
"""Where events go: the formats of a stream of events, and `--output-file`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import click

if TYPE_CHECKING:
    from bpfctl.cli.invocation import Invocation
    from bpfctl.cli.show_events import Exporter

FORMATS = ("table", "json", "jsonl", "yaml", "csv", "parquet", "perfetto")


def event_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--where and --output-file."""
    for option in (
        click.option(
            "--output-file",
            "-w",
            "path",
            type=click.Path(dir_okay=False),
            metavar="FILE",
            help="Write there, not to standard output.",
        ),
        click.option(
            "--where",
            default="",
            metavar="CONDITION",
            help="Only events that fulfil it: 'dport == 443 and comm == \"curl\"'.",
        ),
    ):
        function = option(function)
    return function


@contextlib.contextmanager
def destination(invocation: Invocation, path: str | None) -> Iterator[Exporter | None]:
    """Where the command writes while this is open: to `path` (None: standard output).

    Gives the writer of `-o parquet` and `-o perfetto`, None for the other formats. What else
    the command shows then is a table, on standard error where the file is standard output.
    Raises InvalidArgument for a terminal, or without the packages, and OSError, with the
    name of the file, for what could not be written.
    """
    from bpfctl.export import EXPORTS

    kind = str(invocation.format)
    if kind not in EXPORTS:
        with _text(invocation, path):
            yield None
        return
    from bpfctl.cli.export_events import ParquetExporter, PerfettoExporter
    from bpfctl.errors import InvalidArgument

    invocation.format = "table"
    if path is None and sys.stdout.isatty():
        raise InvalidArgument(
            "output", f"{kind} is nothing for a terminal; name a file with -w FILE"
        )
    exporter = ParquetExporter if kind == "parquet" else PerfettoExporter
    exporter.check()
    if path is None:
        invocation.file = sys.stderr
        with exporter(sys.stdout.buffer) as found:
            yield found
        return
    with _named(path), _opened(path, keep=kind == "perfetto") as file, exporter(file) as found:
        yield found


@contextlib.contextmanager
def _text(invocation: Invocation, path: str | None) -> Iterator[None]:
    if path is None:
        yield
        return
    with _named(path), open(path, "w", encoding="utf-8") as file:
        invocation.file = file
        try:
            yield
        finally:
            invocation.file = None


@contextlib.contextmanager
def _opened(path: str, *, keep: bool) -> Iterator[BinaryIO]:
    """A file that is written; when that fails it goes, unless `keep`: its end is missing."""
    if keep or (os.path.exists(path) and not os.path.isfile(path)):
        with open(path, "wb") as file:
            yield file
        return
    # Under its name there is never a file without its end.
    part = f"{path}.part"
    try:
        with open(part, "wb") as file:
            yield file
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    except BaseException:
        if os.path.getsize(part):
            os.replace(part, path)
        else:
            os.unlink(part)
        raise
    os.replace(part, path)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """An error of writing says which file it was."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), path) from None
        raise
