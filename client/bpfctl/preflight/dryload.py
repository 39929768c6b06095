# SPDX-License-Identifier: Apache-2.0
"""An object is loaded and thrown away, and what became of each program."""

from __future__ import annotations

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
    try:
        programs = target.verify(parsed.data, settings).programs
    except _OF_THE_OBJECT as error:
        names = loaded(parsed, settings.skip, settings.also)
        return [DryLoad(program.name, False, str(error)) for program in names]
    return [_of(item, parsed) for item in programs]


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
