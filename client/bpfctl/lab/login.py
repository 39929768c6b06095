# SPDX-License-Identifier: Apache-2.0
"""Logging in to a board with the system's own ssh."""

from __future__ import annotations

import shutil

from bpfctl.config import SshTarget

from .errors import LabError


def command(ssh: SshTarget, words: list[str]) -> list[str]:
    """The command that runs `words` on a board, or opens a shell there when there are none.

    The user's own SSH configuration is left out. Raises LabError when there is no ssh.
    """
    program = shutil.which("ssh")
    if program is None:
        raise LabError(
            "logging in takes the ssh program, and there is none",
            "install it: apt install openssh-client",
        )
    options = {
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": ssh.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    settings = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    login = [program, "-F", "none", "-p", str(ssh.port), "-i", ssh.identity, *settings]
    return [*login, f"{ssh.user}@{ssh.host}", *words]
