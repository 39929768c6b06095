# SPDX-License-Identifier: Apache-2.0
"""What the verifier says of each program of an object, without keeping any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from bpfd.errors import (
    BpfdError,
    InvalidArgument,
    KernelError,
    LimitExceeded,
    NotFound,
    NotSupported,
    VerifierRejected,
    to_detail,
)
from bpfd.kernel import elf_object
from bpfd.kernel.info import prog_info
from bpfd.kernel.load_options import Inspect, Loaded, LoadOptions, ProgramLog, ProgramSetting
from bpfd.objects import elf_slots, load_request, verifier_log
from bpfd.v1 import objects_pb2

_STATISTICS = 4
"""Verifier log level: the last lines (BPF_LOG_STATS of linux/bpf_verifier.h)."""

_OF_ONE = (NotSupported, InvalidArgument, NotFound, LimitExceeded, KernelError)
"""What can keep one program from being loaded, and says nothing of the others."""

Adjust = Callable[[LoadOptions], LoadOptions]
"""Changes the options of a request before they are used."""

Load = Callable[[Adjust], Loaded]


def verify(
    request: objects_pb2.VerifyRequest, load: Load, inspect: Inspect
) -> objects_pb2.VerifyResponse:
    """Loads each program by itself, so that one refusal does not hide the others.

    Raises the error that keeps every program from being tried, where it is the same.
    """
    load_request.check_source(request)
    on = {item.name for item in request.options.programs if item.load}
    off = {item.name for item in request.options.programs if item.load is False}
    if request.WhichOneof("source") == "elf":
        request.elf = elf_slots.emptied(request.elf)
        names = elf_object.program_names("verify", request.elf, on)
    else:
        for item in request.spec.maps:
            if item.initial_refs:
                item.ClearField("initial_refs")
                item.ClearField("initial_keys")
        names = [item.name for item in request.spec.programs]
    response = objects_pb2.VerifyResponse()
    failed: list[BpfdError] = []
    for name in names:
        if name in off:
            continue
        one = _One(name, names, inspect)
        try:
            response.warnings.extend(one.verify(load))
        except _OF_ONE as error:
            failed.append(error)
            one.result.error.CopyFrom(to_detail(error))
        response.programs.append(one.result)
    if failed and len(failed) == len(response.programs) and len(set(map(str, failed))) == 1:
        raise failed[0]
    return response


class _One:
    """One program of the object; `result` is filled as far as it gets."""

    def __init__(self, name: str, names: list[str], inspect: Inspect) -> None:
        self.result = objects_pb2.VerifiedProgram()
        self.result.log.program = name
        self._name = name
        self._names = names
        self._inspect = inspect

    def verify(self, load: Load) -> list[str]:
        """Gives libbpf's warnings; raises what is no refusal of this program."""
        try:
            loaded = load(self._adjust)
        except VerifierRejected as error:
            if error.program not in ("", self._name):
                raise InvalidArgument(
                    "elf",
                    f"program {self._name} loads only together with {error.program}, which the "
                    "verifier refused",
                ) from None
            self.result.errno = error.errno
            self._say(ProgramLog(self._name, error.log, error.log_truncated))
            return []
        try:
            said = (log for log in loaded.logs if log.program == self._name)
            self._say(next(said, ProgramLog(self._name, "")))
            if self._name not in loaded.programs:
                raise InvalidArgument(
                    "elf", f"program {self._name} loads only together with its struct_ops"
                )
            info = prog_info(loaded.programs[self._name].fd)
            self.result.accepted = True
            self.result.bytes_xlated = info.xlated_prog_len
            self.result.bytes_jited = info.jited_prog_len
        finally:
            loaded.unpin()
            loaded.close()
        return loaded.warnings

    def _say(self, log: ProgramLog) -> None:
        self.result.log.CopyFrom(verifier_log.message(log))

    def _adjust(self, options: LoadOptions) -> LoadOptions:
        programs = dict(options.programs)
        for other in self._names:
            chosen = programs.get(other, ProgramSetting())
            programs[other] = dataclasses.replace(chosen, load=other == self._name)
        return dataclasses.replace(
            options,
            inspect=self._look,
            pin_by_name=False,
            fill_struct_ops=False,
            programs=programs,
            log_level=options.log_level | _STATISTICS,
        )

    def _look(self, types: dict[str, tuple[int, int]]) -> None:
        if self._name in types:
            kind, self.result.expected_attach_type = types[self._name]
            self.result.type = kind  # type: ignore[assignment]
        self._inspect(types)
