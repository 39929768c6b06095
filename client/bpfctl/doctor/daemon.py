# SPDX-License-Identifier: Apache-2.0
"""The daemon: its version, and what the caller may do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bpfctl.doctor.check import Check
from bpfctl.doctor.facts import Facts

GROUP = "daemon"

_ROLES = {
    "viewer": "may look, and change nothing",
    "tracer": "may load and attach tracing programs, and nothing on data paths",
    "operator": "may load and attach everything",
    "admin": "may do everything",
}


def checks(facts: Facts) -> Iterator[Check]:
    """Reached, version, role."""
    info = facts.info
    yield Check(
        GROUP,
        "answers",
        "ok",
        f"bpfd {info.daemon_version} (process {info.daemon_pid}, API {info.api_minor}, "
        f"libbpf {info.libbpf_version})",
        essential=True,
    )
    yield _version(facts)
    role = info.role
    may = f"this client is {role}: it {_ROLES.get(role, 'may do what that role may')}"
    if role in ("viewer", "tracer"):
        yield Check(
            GROUP,
            "role",
            "warning",
            may,
            "use the socket bpfd.sock in place of bpfd-ro.sock, or over TCP a certificate of "
            "`bpfctl pki issue NAME --client --role operator`",
        )
    else:
        yield Check(GROUP, "role", "ok", may)


def _version(facts: Facts) -> Check:
    theirs, ours = facts.info.daemon_version, facts.client_version
    if _numbers(theirs) == _numbers(ours):
        return Check(GROUP, "version", "ok", f"the daemon is of this bpfctl's version ({ours})")
    if _numbers(theirs) < _numbers(ours):
        return Check(
            GROUP,
            "version",
            "warning",
            f"the daemon ({theirs}) is older than this bpfctl ({ours}): newer commands may "
            "not work",
            f"`bpfctl target upgrade {facts.target}`, or update the package on the target",
        )
    return Check(
        GROUP,
        "version",
        "warning",
        f"this bpfctl ({ours}) is older than the daemon ({theirs}): it may miss fields",
        "update bpfctl on this workstation",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
