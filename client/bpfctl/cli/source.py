# SPDX-License-Identifier: Apache-2.0
"""From what a user names (a C file, an object file, a package) to an object for a target."""

from __future__ import annotations

import dataclasses
import functools
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.facts import facts_of

if TYPE_CHECKING:
    from bpfctl.btf.parse import ByteOrder
    from bpfctl.build import Built
    from bpfctl.cli.invocation import Invocation
    from bpfctl.objects import ConstantValue, LoadSettings
    from bpfctl.package import Package
    from bpfctl.package.alternatives import Chosen
    from bpfctl.target import Target
    from bpfd.v1 import objects_pb2

_building: defaultdict[tuple[object, ...], threading.Lock] = defaultdict(threading.Lock)
"""Held while something is compiled for a kind of target."""

MAX_NAME = 64
"""Characters of an object's name (protos/bpfd/v1/objects.proto)."""


@dataclass(frozen=True)
class Source:
    """An object that can be loaded."""

    name: str
    """For the object, by default."""
    elf: bytes
    package: Package | None = None
    built: Built | None = None
    """None: it was an object file."""
    chosen: Sequence[Chosen] = ()
    """What the target takes of the package's alternatives."""


@dataclass(frozen=True)
class BuildSettings:
    """What `build_options` collects."""

    variant: str | None = None
    choose: tuple[str, ...] = ()
    include: tuple[Path, ...] = ()
    defines: tuple[str, ...] = ()
    cpu: str = "v3"
    no_cache: bool = False


@dataclass(frozen=True)
class SettingTexts:
    """What `setting_options` collects, as it was typed."""

    values: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    reuse: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    log_level: int = 0


def collected(function: Callable[..., Any], name: str, kind: type[Any]) -> Callable[..., Any]:
    """`function`, that takes one dataclass in place of an argument for each of its fields."""
    names = [item.name for item in fields(kind)]

    @functools.wraps(function)
    def collect(**options: Any) -> Any:
        options[name] = kind(**{field: options.pop(field) for field in names})
        return function(**options)

    return collect


def build_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--variant, --choose, -I, -D, --cpu, --no-cache; the command gets them as `build`."""
    function = collected(function, "build", BuildSettings)
    for option in (
        click.option("--no-cache", is_flag=True, help="Compile even if nothing changed."),
        click.option(
            "--cpu",
            default="v3",
            show_default=True,
            type=click.Choice(["v1", "v2", "v3", "v4"]),
            help="BPF instruction set.",
        ),
        click.option(
            "-D",
            "defines",
            multiple=True,
            metavar="NAME[=VALUE]",
            help="Macro for the compiler.",
        ),
        click.option(
            "-I",
            "include",
            multiple=True,
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="Folder of headers.",
        ),
        click.option(
            "--choose",
            multiple=True,
            metavar="NAME=CHOICE",
            help="Of a package's alternatives the one to take [what the target can do].",
        ),
        click.option("--variant", metavar="NAME", help="A package's other version."),
    ):
        function = option(function)
    return function


_SETTINGS = {
    "log_level": click.option(
        "--log-level",
        type=click.IntRange(0, 7),
        default=0,
        help="Verifier log of every program: 1, 2, 4 (statistics) or a sum.",
    ),
    "also": click.option(
        "--program",
        "also",
        multiple=True,
        metavar="NAME",
        help="Load a program that is off by default too.",
    ),
    "skip": click.option(
        "--no-program", "skip", multiple=True, metavar="NAME", help="Leave a program out."
    ),
    "functions": click.option(
        "--function",
        "--extend",
        "functions",
        multiple=True,
        metavar="NAME=[OBJECT/PROGRAM:]FUNCTION",
        help="What a fentry, fexit, fmod_ret, lsm, tp_btf or iter program is for, if not "
        "what its section says; or function of a loaded program to trace or to replace.",
    ),
    "reuse": click.option(
        "--reuse",
        multiple=True,
        metavar="MAP=ID|PIN|OBJECT/MAP",
        help="Use a map that exists in place of a new one.",
    ),
    "sizes": click.option(
        "--map-size",
        "sizes",
        multiple=True,
        metavar="MAP=N",
        help="Entries (ring buffers: bytes) of a map.",
    ),
    "values": click.option(
        "--set",
        "values",
        multiple=True,
        metavar="NAME=VALUE",
        help="A package's setting, or a global variable.",
    ),
}


def setting_options(
    function: Callable[..., Any], **others: Callable[..., Any]
) -> Callable[..., Any]:
    """--set, --map-size, --reuse, --function, --program, --no-program and --log-level; the
    command gets them as `settings`. `others` are options in place of these, by field."""
    function = collected(function, "settings", SettingTexts)
    for option in {**_SETTINGS, **others}.values():
        function = option(function)
    return function


def find(text: str) -> Path | Package:
    """The file or the package that `text` names; raises NotFound or PackageError."""
    path = Path(text)
    if path.is_file():
        return path
    if text.endswith((".c", ".o")):
        raise NotFound("file", text)
    from bpfctl.package import load_package, packages

    if not path.exists() and "/" not in text:
        import difflib

        known = {folder.name for folder in packages()}
        if text not in known:
            near = difflib.get_close_matches(text, known, 3)
            raise NotFound("file or package", text, near)
    return load_package(text)


def make(
    invocation: Invocation, target: Target, text: str, settings: BuildSettings | None = None
) -> Source:
    """Build or read what `text` names, for `target`.

    Raises what the compiler, the package and the object say is wrong.
    """
    settings = settings or BuildSettings()
    found = find(text)
    if isinstance(found, Path):
        if settings.variant or settings.choose:
            raise click.UsageError("--variant and --choose belong to packages")
        if found.suffix != ".c":
            return Source(object_name(found.name), _read_object(found))
        built = _build(invocation, target, text, settings)
        return Source(object_name(found.name), built.object, None, built)
    from bpfctl.package import alternatives

    path = found.source_path(settings.variant)
    chosen = _choose(invocation, target, found, settings)
    more = (*alternatives.defines(chosen), *settings.defines)
    built = _build(invocation, target, path, dataclasses.replace(settings, defines=more))
    return Source(object_name(found.name), built.object, found, built, chosen)


def _choose(
    invocation: Invocation, target: Target, package: Package, settings: BuildSettings
) -> Sequence[Chosen]:
    """What the target takes of the package's alternatives; says so where it is no first one."""
    if not package.alternatives and not settings.choose:
        return ()
    from bpfctl.cli.parameters import pairs
    from bpfctl.preflight.declared import chosen

    found = chosen(target, package, pairs(settings.choose, "--choose"))
    for item in found:
        if item.lacking:
            why = f", as the target lacks {', '.join(item.lacking)}"
            invocation.warn(f"{item.alternative.name}: {item.choice.name}{why}", target)
    return found


def _build(
    invocation: Invocation, target: Target, source: str | Path, settings: BuildSettings
) -> Built:
    from bpfctl.build import BuildOptions, build

    defines = {}
    for text in settings.defines:
        name, _, value = text.partition("=")
        defines[name] = value or "1"
    options = BuildOptions(
        cpu=settings.cpu,
        defines=defines,
        include_folders=settings.include,
        use_cache=not settings.no_cache,
    )
    facts = facts_of(target)
    # Of several targets of one kind the first one compiles, the others find it in the cache.
    with _building[facts.machine, facts.btf_sha256, facts.kernel_release]:
        built = build(source, facts, target.btf.kernel_bytes, options=options)
    if built.warnings and (invocation.verbose or not built.cached):
        click.echo(built.warnings.rstrip(), err=True)
    return built


def _read_object(path: Path) -> bytes:
    from bpfctl.elf import DEFAULT_LIMIT, InvalidObject, ObjectFile, check_size

    try:
        check_size(path.stat().st_size, DEFAULT_LIMIT)
        data = path.read_bytes()
        ObjectFile.parse(data)
    except InvalidObject as error:
        raise InvalidArgument(str(path), str(error)) from None
    return data


def object_name(file: str) -> str:
    """The name of an object by that of its file: "xdp-count.bpf.c" gives "xdp-count"."""
    stem = re.sub(r"(\.bpf)?\.[A-Za-z0-9]+$", "", file) if "." in file else file
    return re.sub(r"[^A-Za-z0-9_-]", "_", stem)[:MAX_NAME] or "object"


def load_settings(source: Source, texts: SettingTexts) -> LoadSettings:
    """Settings that were typed, with the defaults of a package; raises InvalidArgument."""
    from bpfctl.cli.parameters import numbers, pairs
    from bpfctl.objects import LoadSettings

    values = pairs(texts.values, "--set")
    sizes = numbers(texts.sizes, "--map-size")
    constants: Mapping[str, ConstantValue]
    skip = [*texts.skip]
    record_types: dict[str, str] = {}
    metrics: list[objects_pb2.Metric] = []
    if source.package is not None:
        from bpfctl.metrics import of_package

        record_types = {events.map: events.type for events in source.package.events}
        resolved = source.package.resolve(values)
        constants = resolved.constants
        metrics = of_package(source.package, source.elf, resolved.values)
        sizes = {**resolved.sizes, **sizes}
        skip += [
            item.name
            for item in source.package.programs
            if not item.enabled and item.name not in texts.also
        ]
        if source.chosen:
            from bpfctl.package.alternatives import left_out

            skip += [name for name in left_out(source.chosen) if name not in texts.also]
    else:
        constants = _typed(source.elf, values)
    return LoadSettings(
        constants=constants,
        map_entries=sizes,
        reuse=pairs(texts.reuse, "--reuse"),
        record_types=record_types,
        skip=skip,
        also=texts.also,
        functions=pairs(texts.functions, "--function"),
        metrics=metrics,
        log_level=texts.log_level,
    )


def _typed(elf: bytes, values: Mapping[str, str]) -> dict[str, ConstantValue]:
    """Texts for global variables as the bytes of their types."""
    if not values:
        return {}
    from bpfctl.btf import Btf, Codec
    from bpfctl.elf import ObjectFile

    parsed = ObjectFile.parse(elf)
    btf = Btf.parse(parsed.btf) if parsed.btf else None
    constants: dict[str, ConstantValue] = {}
    for name, text in values.items():
        try:
            variable = parsed.variable(name)
        except LookupError as error:
            raise InvalidArgument("--set", str(error.args[0])) from None
        order: ByteOrder = "big" if parsed.big_endian else "little"
        codec = Codec.of(btf, variable.type_id, variable.size, byteorder=order)
        constants[name] = codec.parse(text, name)
    return constants
