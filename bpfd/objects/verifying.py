# SPDX-License-Identifier: Apache-2.0
"""What the verifier says of each program of an object, without keeping any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from bpfd.errors import VerifierRejected
from bpfd.kernel import elf_object
from bpfd.kernel.load_options import Inspect, Loaded, LoadOptions, ProgramLog, ProgramSetting
from bpfd.objects import load_request, verifier_log
from bpfd.v1 import objects_pb2

_STATISTICS = 4
"""Verifier log level: the last lines only."""

Adjust = Callable[[LoadOptions], LoadOptions]
"""Changes the options of a request before they are used."""


def verify(
    request: objects_pb2.VerifyRequest, load: Callable[[Adjust], Loaded], inspect: Inspect
) -> objects_pb2.VerifyResponse:
    """Loads each program by itself, so that one refusal does not hide the others."""
    load_request.check_source(request)
    if request.WhichOneof("source") == "elf":
        names = elf_object.program_names("verify", request.elf)
    else:
        names = [item.name for item in request.spec.programs]
    off = [item.name for item in request.options.programs if item.load is False]
    response = objects_pb2.VerifyResponse()
    for name in names:
        if name not in off:
            verified, warnings = _verify_one(name, names, load, inspect)
            response.programs.append(verified)
            response.warnings.extend(warnings)
    return response


def _verify_one(
    name: str, names: list[str], load: Callable[[Adjust], Loaded], inspect: Inspect
) -> tuple[objects_pb2.VerifiedProgram, list[str]]:
    def adjust(options: LoadOptions) -> LoadOptions:
        programs = dict(options.programs)
        for other in names:
            chosen = programs.get(other, ProgramSetting())
            programs[other] = dataclasses.replace(chosen, load=other == name)
        return dataclasses.replace(
            options,
            inspect=inspect,
            pin_by_name=False,
            programs=programs,
            log_level=options.log_level or _STATISTICS,
        )

    verified = objects_pb2.VerifiedProgram()
    try:
        loaded = load(adjust)
    except VerifierRejected as error:
        verified.errno = error.errno
        said = ProgramLog(name, error.log, error.log_truncated)
        verified.log.CopyFrom(verifier_log.message(said))
        return verified, []
    loaded.unpin()
    loaded.close()
    verified.accepted = True
    said = next((log for log in loaded.logs if log.program == name), ProgramLog(name, ""))
    verified.log.CopyFrom(verifier_log.message(said))
    return verified, loaded.warnings
