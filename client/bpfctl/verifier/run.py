# SPDX-License-Identifier: Apache-2.0
"""Verifying the programs of an object on a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfctl import errors
from bpfctl.elf import ObjectFile
from bpfctl.verifier import Diagnostic, explain, statistics

if TYPE_CHECKING:
    from bpfctl.objects import LoadSettings
    from bpfctl.target import Target
    from bpfd.v1 import objects_pb2

_OF_ONE = (
    errors.NotSupported,
    errors.InvalidArgument,
    errors.NotFound,
    errors.LimitExceeded,
    errors.KernelError,
)
"""What can keep one program from being loaded, and says nothing of the others."""


@dataclass(frozen=True)
class Verified:
    """What came of one program."""

    object: str
    parsed: ObjectFile
    message: objects_pb2.VerifiedProgram
    error: errors.BpfctlError | None = None
    """Why it has no verdict; None: it has one."""

    @property
    def program(self) -> str:
        """Name of the C function."""
        return self.message.log.program

    @property
    def refusal(self) -> errors.VerifierRejected | None:
        """As loading it would raise it; None: it was not refused."""
        if self.error or self.message.accepted:
            return None
        log = self.message.log
        return errors.VerifierRejected(self.program, log.log, self.message.errno, log.truncated)

    @cached_property
    def diagnostic(self) -> Diagnostic | None:
        """A refusal with its place in the source."""
        if self.refusal is None:
            return None
        log, errno = self.message.log.log, self.message.errno
        return explain(self.program, log, self.parsed, Path.cwd(), errno=errno)

    def row(self, *, log: bool = False) -> dict[str, Any]:
        """Figures, and the reason where it was not accepted; with `log` all that was said."""
        found = statistics.row(self.message, self.parsed, self.object)
        if self.error is not None:
            found |= {"verdict": statistics.UNTRIED, "reason": str(self.error)}
        elif self.diagnostic is not None:
            place = self.diagnostic
            found |= {"reason": place.message, "file": place.file, "line": place.line or None}
        if log:
            found["log"] = self.message.log.log
        return found


def verify(
    target: Target, name: str, elf: bytes, settings: LoadSettings, programs: Sequence[str]
) -> Iterator[Verified]:
    """Each of `programs` by itself, in this order; nothing of them stays.

    With a log level there is a call for each: logs are long. Raises what concerns all.
    """
    parsed = ObjectFile.parse(elf)
    names = [item.name for item in parsed.programs]
    steps = [[each] for each in programs] if settings.log_level else [list(programs)]
    for step in steps:
        chosen = dataclasses.replace(
            settings,
            skip=[each for each in names if each not in step],
            also=[each for each in step if each in settings.also],
            functions={each: text for each, text in settings.functions.items() if each in step},
        )
        try:
            answer = target.verify(elf, chosen)
        except _OF_ONE as error:
            if len(step) > 1 or len(programs) == 1:
                raise
            yield Verified(name, parsed, _nothing(step[0]), error)
            continue
        for message in answer.programs:
            yield Verified(name, parsed, message, _error(message))


def _error(message: objects_pb2.VerifiedProgram) -> errors.BpfctlError | None:
    if not message.HasField("error"):
        return None
    unknown = errors.CallFailed("Objects.Verify", "UNKNOWN", "an error that is not known here")
    return errors.from_detail(message.error.SerializeToString()) or unknown


def _nothing(program: str) -> objects_pb2.VerifiedProgram:
    from bpfd.v1 import objects_pb2

    return objects_pb2.VerifiedProgram(log=objects_pb2.ProgramLog(program=program))
