# SPDX-License-Identifier: Apache-2.0
"""Needs as a package writes them, and a target's choice among a package's alternatives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from bpfctl.package import PackageError
from bpfctl.package.alternatives import Chosen, NoneFits, check_names, choose, needs

from .needs import Need

if TYPE_CHECKING:
    from bpfctl.package import Package
    from bpfctl.target import Target

_NAMES = ("function", "syscall", "tracepoint", "raw_tracepoint", "symbol")
"""Words before a name of the kernel, as fields of the message Need."""

_TYPES = ("struct", "union", "enum")


def need(text: str) -> Need:
    """What a text of `needs` in a package.toml asks for: a name of the kernel behind one of
    `function`, `syscall`, `tracepoint`, `raw_tracepoint`, `symbol`, `kfunc`; `struct NAME` or
    `struct NAME.MEMBER` (also union; `enum NAME.ENUMERATOR`) of its types; else a feature."""
    from bpfctl.btf.kinds import Kind

    from .core import CorePath

    word, _, name = text.partition(" ")
    if word in _NAMES and name:
        return Need(word, text, (word, name))
    if word == "kfunc" and name:
        return Need("kfunc", text, ("btf", (name, Kind.FUNC)))
    if word in _TYPES and name:
        start, *members = name.split(".")
        if word == "enum":
            path = CorePath(Kind.ENUM, start, enumerator=members[0] if members else "")
        else:
            path = CorePath(Kind[word.upper()], start, tuple(members))
        return Need("type", text, ("core", path))
    return Need("feature", text, ("feature", text))


def chosen(target: Target, package: Package, asked: Mapping[str, str]) -> list[Chosen]:
    """What a target takes of each of a package's alternatives.

    `asked` are choices by alternative that are taken without a look at the target. Raises
    PackageError for names that the package does not have, and NotSupported where no choice
    fits.
    """
    from bpfctl.errors import InvalidArgument, NotSupported

    check_names(package.alternatives, asked)
    try:
        met = _met(target, needs(package.alternatives, asked))
        return choose(package.alternatives, met, asked)
    except NoneFits as error:
        raise NotSupported(
            f"package {package.name}: none of its choices for {error}",
            needs=f"--choose {error.alternative.name}=CHOICE takes one all the same",
        ) from None
    except InvalidArgument as error:
        raise PackageError(f"{package.folder / 'package.toml'}: {error.why}") from None


def _met(target: Target, texts: Iterable[str]) -> dict[str, bool]:
    from bpfctl.errors import PermissionMissing

    from .answers import answers

    wanted = [need(text) for text in texts]
    if not wanted:
        return {}
    try:
        found = answers(target, wanted)
    except PermissionMissing:
        # Whoever may load nothing there may still build for it, by what the target lists.
        if any(item.kind != "feature" for item in wanted):
            raise
        listed = {item.name for item in target.info(features=True).features if item.supported}
        return {item.name: item.name in listed for item in wanted}
    return {item.name: answer.met is True for item, answer in zip(wanted, found, strict=True)}
