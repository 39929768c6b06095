# SPDX-License-Identifier: Apache-2.0
"""Profiles in files; the end of a file's name says its format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from bpfctl.errors import InvalidArgument
from bpfctl.profiles.model import Profile
from bpfctl.profiles.tree import FlameGraph

FORMATS = {
    ".html": "html",
    ".svg": "svg",
    ".folded": "folded",
    ".collapsed": "folded",
    ".pb.gz": "pprof",
    ".pprof": "pprof",
    ".perfetto": "perfetto",
    ".pftrace": "perfetto",
    ".perfetto-trace": "perfetto",
}
"""By the end of a file's name."""

NAMES = ".html, .svg, .folded, .pb.gz, .perfetto"
"""As people are told them."""

DRAWN = ("html", "svg", "perfetto")
"""Formats that are made of a tree."""


def format_of(path: Path) -> str:
    """One of the values of FORMATS; InvalidArgument when the name says none."""
    for end, found in FORMATS.items():
        if path.name.lower().endswith(end):
            return found
    raise InvalidArgument("output", f"{path.name}: profiles are written as {NAMES}")


def check(path: Path, *, differential: bool = False) -> None:
    """Whether such a file can be written, as is better known before a profile is taken.

    Raises InvalidArgument, OSError, PageIncomplete.
    """
    found = format_of(path)
    if differential and found not in ("html", "svg"):
        raise InvalidArgument(
            "output", f"{path.name}: the difference of two profiles is written as .html or .svg"
        )
    if path.is_dir():
        raise InvalidArgument("output", f"{path} is a folder")
    if not path.parent.is_dir():
        raise InvalidArgument("output", f"there is no folder {path.parent}")
    if found == "html":
        from bpfctl.profiles import html

        html.libraries()
    elif found == "perfetto":
        from bpfctl.profiles import perfetto

        perfetto.protos()


def write(profile: Profile, path: Path) -> None:
    """Writes the file, whole or not at all; raises as `check`."""
    check(path)
    found = format_of(path)
    if found in DRAWN:
        from bpfctl.profiles import tree

        write_graph(tree.of(profile), path)
    elif found == "folded":
        from bpfctl.profiles import folded

        _put(path, _encoded(folded.write(profile)))
    else:
        from bpfctl.profiles import pprof

        _put(path, [pprof.write(profile)])


def write_graph(graph: FlameGraph, path: Path) -> None:
    """Writes the file of a tree, of one profile or two; raises as `check`."""
    check(path, differential=graph.differential)
    found = format_of(path)
    if found == "html":
        from bpfctl.profiles import html

        _put(path, _encoded([html.write(graph)]))
    elif found == "svg":
        from bpfctl.profiles import svg

        _put(path, _encoded(svg.write(graph)))
    elif found == "perfetto":
        from bpfctl.profiles import perfetto

        _put(path, perfetto.write(graph))
    else:
        raise InvalidArgument("output", f"{path.name}: a tree is written as .html or .svg")


def _encoded(parts: Iterable[str]) -> Iterable[bytes]:
    return (part.encode("utf-8") for part in parts)


def _put(path: Path, parts: Iterable[bytes]) -> None:
    if path.exists() and not path.is_file():
        # A pipe or a device, as /dev/stdout.
        with path.open("wb") as file:
            file.writelines(parts)
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.writelines(parts)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> Profile:
    """The profile of a file of folded stacks or of pprof, by its content.

    Raises InvalidArgument when it is neither, OSError.
    """
    data = path.read_bytes()
    reader: Callable[[bytes], Profile] = _folded
    if data[:2] == b"\x1f\x8b" or b"\0" in data[:4096]:
        from bpfctl.profiles import pprof_reading

        reader = pprof_reading.read
    elif data.lstrip()[:1] == b"<":
        raise InvalidArgument(
            "profile", f"{path.name} is a picture; .folded and .pb.gz can be read"
        )
    try:
        found = reader(data)
    except InvalidArgument as error:
        raise InvalidArgument("profile", f"{path.name}: {error.why}") from error
    found.title = found.title or path.name
    return found


def _folded(data: bytes) -> Profile:
    from bpfctl.profiles import folded

    return folded.read(data.decode("utf-8", "backslashreplace"))
