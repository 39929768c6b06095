# SPDX-License-Identifier: Apache-2.0
"""From the kernel's errno to an error that says what to do."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Mapping

from bpfd import errors
from bpfd.kernel import host
from bpfd.kernel.constants import ENOTSUPP

_MAX_COMPARED = 5_000


def refused(
    error: OSError,
    operation: str,
    capability: str,
    hints: Mapping[str, str] | None = None,
) -> errors.BpfdError:
    """The error for a refused system call; `hints` are keyed by errno name ("EINVAL")."""
    number = error.errno or 0
    name = "ENOTSUPP" if number == ENOTSUPP else errno.errorcode.get(number, "")
    hint = (hints or {}).get(name, "")
    if number in (errno.EPERM, errno.EACCES):
        if not host.has_capability(capability, host.capabilities()):
            return errors.PermissionMissing(capability, action=operation)
        hint = hint or (
            f"though the daemon has {capability}: lockdown or a security module forbids it"
        )
    return errors.KernelError(operation, number, hint)


def near(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """The candidates that a person might have meant, best first."""
    if not name:
        return []
    wanted = name.lower()
    unique = set(candidates)
    unique.discard(name)
    pool = sorted(each for each in unique if _plausible(wanted, each.lower()))
    if len(pool) > _MAX_COMPARED:
        pool.sort(key=lambda each: abs(len(each) - len(name)))
        del pool[_MAX_COMPARED:]
    folded: dict[str, str] = {}
    for each in pool:
        folded.setdefault(each.lower(), each)
    found = [folded[each] for each in difflib.get_close_matches(wanted, folded, limit)]
    inside = sorted((each for each in pool if wanted in each.lower()), key=len)
    return [*found, *(each for each in inside if each not in found)][:limit]


def _plausible(wanted: str, other: str) -> bool:
    """Cheap first sieve: of similar length or one inside the other."""
    if abs(len(wanted) - len(other)) <= max(3, len(wanted) // 2):
        return True
    return wanted in other
