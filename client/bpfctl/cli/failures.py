# SPDX-License-Identifier: Apache-2.0
"""Errors as a person reads them, and the exit code of each kind."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence

import click

from bpfctl import errors
from bpfctl.printable import printable

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3

EXIT_CODES: dict[type[Exception], int] = {
    errors.InvalidArgument: EXIT_USAGE,
    errors.VerifierRejected: EXIT_REFUSED,
    errors.NotFound: 4,
    errors.TargetUnreachable: 5,
    errors.ApiMismatch: 5,
    errors.PermissionMissing: 6,
    errors.NotSupported: 7,
    errors.AttachBusy: 8,
    errors.LimitExceeded: 8,
    errors.LeaseExpired: EXIT_ERROR,
    errors.KernelError: EXIT_ERROR,
    errors.CallFailed: EXIT_ERROR,
}


class Refused(Exception):
    """The verifier refused a program of an object that is at hand."""

    def __init__(self, error: errors.VerifierRejected, elf: bytes) -> None:
        super().__init__(str(error))
        self.error = error
        self.elf = elf


@contextlib.contextmanager
def with_object(elf: bytes) -> Iterator[None]:
    """A verifier's refusal in here is of a program in `elf`: its lines can be shown."""
    try:
        yield
    except errors.VerifierRejected as error:
        raise Refused(error, elf) from None


WORST_FIRST = (EXIT_ERROR, 5, 6, 8, 7, 4, EXIT_USAGE, EXIT_REFUSED)
"""Exit codes by how little they say of what was asked: the first is that of several targets."""


def show(error: Exception, *, verbose: bool = False, where: str = "") -> int:
    """Write one error to standard error; gives the exit code.

    `where` names the targets it is of, when there are several.
    """
    sys.stdout.flush()
    if isinstance(error, click.ClickException):
        return _usage(error, where)
    if isinstance(error, Refused):
        text = explain(error, verbose=verbose, where=where)
        print(printable(text, keep="\n\t"), file=sys.stderr)
        return EXIT_CODES[errors.VerifierRejected]
    text, code = describe(error)
    # These begin with the target's name.
    if isinstance(error, errors.TargetUnreachable | errors.ApiMismatch):
        where = ""
    # The words of a compiler have lines; an error of ours is one.
    lines = "" if isinstance(error, errors.BpfctlError) else "\n\t"
    print(f"{_head(where)}{printable(text, keep=lines)}", file=sys.stderr)
    if verbose and code == EXIT_ERROR and not isinstance(error, errors.BpfctlError):
        traceback.print_exception(error, file=sys.stderr)
    return code


def show_each(
    failed: Mapping[str, Exception], done: Sequence[str], *, verbose: bool = False
) -> int:
    """Write the errors of several targets, equal ones once; gives the worst exit code.

    `done` are the targets where all went well: a last line says so.
    """
    codes = []
    alike: dict[tuple[str, str], list[str]] = {}
    for name, error in failed.items():
        alike.setdefault((type(error).__name__, str(error)), []).append(name)
    for names in alike.values():
        codes.append(show(failed[names[0]], verbose=verbose, where=", ".join(names)))
    if failed:
        well = f"done on {', '.join(done)}; " if done else ""
        print(f"bpfctl: {well}failed on {', '.join(failed)}", file=sys.stderr)
    return worst(codes)


def worst(codes: Iterable[int]) -> int:
    """The exit code of several targets; 0: all went well."""
    left = {code for code in codes if code}
    return next((code for code in WORST_FIRST if code in left), max(left, default=0))


def _head(where: str) -> str:
    return f"bpfctl: error: {where}: " if where else "bpfctl: error: "


def describe(error: Exception) -> tuple[str, int]:
    """One line, and the exit code."""
    if isinstance(error, errors.BpfctlError):
        known = (EXIT_CODES[each] for each in type(error).__mro__ if each in EXIT_CODES)
        return str(error), next(known, EXIT_ERROR)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", EXIT_ERROR
    if isinstance(error, ValueError | LookupError) and type(error).__module__ != "builtins":
        # What the pure parts raise for things that a user wrote: objects, packages, BTF.
        return str(error), EXIT_USAGE
    if type(error).__module__.startswith("bpfctl."):
        return str(error), EXIT_ERROR
    kind = type(error).__name__
    return f"{kind}: {error}; this is a bug of bpfctl, --verbose shows where", EXIT_ERROR


def explain(refused: Refused, *, verbose: bool = False, where: str = "") -> str:
    """A verifier's refusal at its source line; with all of its log when `verbose`."""
    from pathlib import Path

    from bpfctl import verifier
    from bpfctl.elf import InvalidObject, ObjectFile

    error = refused.error
    try:
        parsed = ObjectFile.parse(refused.elf)
    except InvalidObject:
        parsed = None
    found = verifier.explain(error.program, error.log, parsed, Path.cwd(), errno=error.errno)
    text = verifier.render(found, verbose)
    cut = " (only its end came over)" if error.log_truncated else ""
    more = "" if verbose else "; --verbose shows all of its log"
    last = f"the verifier refused {error.program}{cut}, nothing was loaded{more}"
    return f"{text}\n{_head(where)}{last}"


def _usage(error: click.ClickException, where: str) -> int:
    if isinstance(error, click.UsageError):
        if error.ctx is not None:
            print(error.ctx.get_usage(), file=sys.stderr)
            hint = f"; see `{error.ctx.command_path} --help`"
        else:
            hint = ""
        text = f"{error.format_message().rstrip('.')}{hint}"
    else:
        text = error.format_message()
    print(f"{_head(where)}{printable(text)}", file=sys.stderr)
    return EXIT_USAGE
