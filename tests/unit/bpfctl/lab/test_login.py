# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.config import SshTarget
from bpfctl.lab import login
from bpfctl.lab.errors import LabError

BOARD = SshTarget("127.0.0.1", "root", 40001, identity="/k/id", known_hosts="/k/hosts")


def test_the_users_own_configuration_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    words = login.command(BOARD, ["uname", "-m"])
    assert words[:7] == ["/usr/bin/ssh", "-F", "none", "-p", "40001", "-i", "/k/id"]
    assert words[-3:] == ["root@127.0.0.1", "uname", "-m"]
    assert {
        "IdentitiesOnly=yes",
        "UserKnownHostsFile=/k/hosts",
        "StrictHostKeyChecking=yes",
    } <= (set(words))
    assert login.command(BOARD, [])[-1] == "root@127.0.0.1"


def test_without_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(LabError, match="apt install openssh-client"):
        login.command(BOARD, [])
