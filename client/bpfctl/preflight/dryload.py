# SPDX-License-Identifier: Apache-2.0
"""An object is loaded and thrown away, and what became of each program."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bpfctl import errors

from .needs import loaded
from .report import DryLoad

if TYPE_CHECKING:
    from bpfctl.elf import ObjectFile
    from bpfctl.objects import LoadSettings
    from bpfctl.target import Target
    from bpfd.v1 import objects_pb2

_OF_THE_OBJECT = (errors.InvalidArgument, errors.NotSupported, errors.KernelError)
"""What the daemon says where it refuses all programs for the same reason."""


def dry_load(target: Target, parsed: ObjectFile, settings: LoadSettings) -> list[DryLoad]:
    """One for each program that would be loaded, in the object's order.

    Raises what has nothing to do with the object, as PermissionMissing.
    """
    names = [program.name for program in loaded(parsed, settings.skip, settings.also)]
    try:
        return _verified(target, parsed, settings)
    except errors.NotSupported as error:
        # What a kernel without BTF cannot attach is refused here, before anything is sent.
        if target.info().btf_sha256 or len(names) == 1:
            return [DryLoad(name, False, str(error)) for name in names]
    except _OF_THE_OBJECT as error:
        return [DryLoad(name, False, str(error)) for name in names]
    return [found for name in names for found in _alone(target, parsed, settings, name, names)]


def _verified(target: Target, parsed: ObjectFile, settings: LoadSettings) -> list[DryLoad]:
    return [_of(item, parsed) for item in target.verify(parsed.data, settings).programs]


def _alone(
    target: Target, parsed: ObjectFile, settings: LoadSettings, name: str, names: list[str]
) -> list[DryLoad]:
    """One program without the others of `names`."""
    others = [other for other in names if other != name]
    only = dataclasses.replace(
        settings,
        skip=[*settings.skip, *others],
        also=[other for other in settings.also if other == name],
        functions={key: text for key, text in settings.functions.items() if key == name},
    )
    try:
        return _verified(target, parsed, only)
    except _OF_THE_OBJECT as error:
        return [DryLoad(name, False, str(error))]


def _of(item: objects_pb2.VerifiedProgram, parsed: ObjectFile) -> DryLoad:
    name = item.log.program
    if item.accepted:
        return DryLoad(name, True, "", item.log.statistics.processed_insns)
    if item.HasField("error"):
        return DryLoad(name, False, str(errors.from_detail(item.error.SerializeToString())))
    from pathlib import Path

    from bpfctl import verifier

    found = verifier.explain(name, item.log.log, parsed, Path.cwd(), errno=item.errno)
    where = f"{found.file}:{found.line}: " if found.line else ""
    advice = f"; {found.advice}" if found.advice else ""
    return DryLoad(name, False, f"{where}{found.message}{advice}")
