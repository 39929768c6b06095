# SPDX-License-Identifier: Apache-2.0
"""`bpfctl btf dump`: types as C, as rows, or as a listing."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.printable import printable

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.target import Target

_KINDS = (
    *("int", "ptr", "array", "struct", "union", "enum", "fwd", "typedef", "volatile", "const"),
    *("restrict", "func", "func_proto", "var", "datasec", "float", "decl_tag", "type_tag"),
    "enum64",
)


@dataclass(frozen=True)
class Source:
    """Whose types; at most one of them is given."""

    module: str | None
    program: str | None
    map: str | None
    id: int | None
    file: Path | None
    base: Path | None

    @property
    def is_kernel(self) -> bool:
        """None was given."""
        return not (self.module or self.program or self.map or self.id or self.file)

    def check(self) -> None:
        """Raises UsageError."""
        given = [
            f"--{name}"
            for name in ("module", "program", "map", "id", "file")
            if getattr(self, name)
        ]
        if len(given) > 1:
            raise click.UsageError(f"{' and '.join(given)}: only one can be dumped")
        if self.base and not self.file:
            raise click.UsageError("--base is of a --file")


@click.command()
@click.option("--module", metavar="NAME", help="Of a module of the target's kernel.")
@click.option("--program", metavar="PROGRAM", help="Of a loaded program.")
@click.option("--map", "map_", metavar="MAP", help="Key and value of a map.")
@click.option("--id", "number", type=click.IntRange(1), help="Of a BTF object by kernel id.")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of a file here: object, module, vmlinux, kernel image, raw BTF.",
)
@click.option(
    "--base",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the types that those of a module's --file continue.",
)
@click.option(
    "--type",
    "patterns",
    metavar="GLOB",
    multiple=True,
    help='Only types of this name, as in "task_struct", "struct xdp_*".',
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(_KINDS, case_sensitive=False),
    multiple=True,
    help="Only types of this kind.",
)
@click.option(
    "--needed",
    is_flag=True,
    help="In a listing, also what these types need (in C they always are).",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["c", "raw"]),
    default="c",
    help="C declarations, or a listing of types by id [c].",
)
@common_options()
@pass_invocation
def command(
    invocation: Invocation,
    module: str | None,
    program: str | None,
    map_: str | None,
    number: int | None,
    file: Path | None,
    base: Path | None,
    patterns: tuple[str, ...],
    kinds: tuple[str, ...],
    needed: bool,
    form: str,
) -> None:
    """Types of the target's kernel, or of what an option says.

    As C each type stands behind those that it needs; --type gives one with just these, and
    structs that only pointers lead to are declared, not defined. `-o json` and the other
    formats for programs have a row for each type, with bpftool's field names.
    """
    source = Source(module, program, map_, number, file, base)
    source.check()
    with ExitStack() as undo:
        target = None if source.file else undo.enter_context(invocation.connect())
        if source.is_kernel and not (patterns or kinds) and _is_c(invocation, form):
            from bpfctl.btf_dump import kernel_header

            assert target is not None
            _write(invocation, kernel_header(target))
            return
        btf, roots = _types(source, target)
    _show(invocation, btf, _chosen(btf, roots, patterns, kinds), form, needed or bool(roots))


def _is_c(invocation: Invocation, form: str) -> bool:
    return form == "c" and invocation.format == "table"


def _types(source: Source, target: Target | None) -> tuple[Btf, list[int]]:
    """The types, and of a map's those of key and value."""
    from bpfctl import btf_dump

    if target is None:
        assert source.file is not None
        return btf_dump.of_file(source.file, source.base), []
    if source.module:
        return target.btf.of_module(source.module), []
    if source.program:
        return btf_dump.of_program(target, source.program), []
    if source.map:
        return btf_dump.of_map(target, source.map)
    if source.id:
        return target.btf.of_id(source.id), []
    return target.btf.kernel(), []


def _chosen(
    btf: Btf, roots: list[int], patterns: tuple[str, ...], kinds: tuple[str, ...]
) -> list[int]:
    from bpfctl import btf_dump
    from bpfctl.btf import Kind

    if roots and not (patterns or kinds):
        return roots
    return btf_dump.chosen(btf, patterns, [Kind[kind.upper()] for kind in kinds])


def _show(invocation: Invocation, btf: Btf, ids: list[int], form: str, needed: bool) -> None:
    from bpfctl import btf_dump
    from bpfctl.btf import listing

    if _is_c(invocation, form):
        _write(invocation, btf_dump.as_c(btf, ids))
        return
    rows = listing.rows(btf, btf_dump.with_needed(btf, ids) if needed else ids)
    if invocation.format != "table":
        invocation.output.rows(rows)
        return
    _write(invocation, "".join(f"{line}\n" for line in listing.lines(rows)))


_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _write(invocation: Invocation, text: str) -> None:
    """Megabytes of text; names of a kernel are words of C, those in files may be anything."""
    if _STEERING.search(text):
        text = printable(text, keep="\n\t")
    invocation.output.file.write(text)
    invocation.output.file.flush()
