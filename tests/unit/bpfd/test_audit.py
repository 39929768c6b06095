# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
import stat
from pathlib import Path

import pytest

from bpfd.audit import Audit, subject
from bpfd.security import Caller, Role
from bpfd.v1 import objects_pb2

CALLER = Caller(Role.OPERATOR, "unix:")


def test_a_line_says_who_did_what_and_how_it_ended(tmp_path: Path) -> None:
    log = Audit(str(tmp_path / "audit.jsonl"))
    log.write(CALLER, "/bpfd.v1.Objects/Load", {"name": "ddos"}, "ok")
    log.write(
        Caller(Role.ADMIN, "ipv4:192.0.2.1:5", "ann"),
        "/bpfd.v1.Maps/Update",
        {},
        "NOT_FOUND",
        "x" * 9999,
    )
    first, second = map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "role": "operator",
        "peer": "unix:",
        "rpc": "Objects.Load",
        "outcome": "ok",
        "request": {"name": "ddos"},
    }
    assert (second["name"], second["role"], len(second["detail"])) == ("ann", "admin", 512)


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    Audit(str(path)).write(CALLER, "/bpfd.v1.Objects/Load", {}, "ok")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_log_starts_anew_and_keeps_the_last(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = Audit(str(path), limit=100)
    for number in range(3):
        log.write(CALLER, "/bpfd.v1.Objects/Load", {"name": str(number)}, "ok")
    assert not path.exists() or path.stat().st_size <= 200
    assert (tmp_path / "audit.jsonl.1").exists()


def test_a_log_without_limit_is_never_moved(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for _ in range(50):
        Audit(str(path)).write(CALLER, "/bpfd.v1.Objects/Load", {}, "ok")
    assert len(path.read_text().splitlines()) == 50


def test_a_log_that_cannot_be_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "bpfd.audit"):
        Audit(str(tmp_path / "no" / "audit.jsonl")).write(CALLER, "/bpfd.v1.A/B", {}, "ok")
    assert '"rpc":"A.B"' in caplog.text


def test_a_subject_has_names_and_sizes_but_no_payload() -> None:
    request = objects_pb2.LoadRequest(name="n" * 200, elf=b"\x7fELF" * 100, replace=True)
    request.lifetime.session = "token"
    request.options.constants.add(map=".rodata", value=b"1")
    request.options.log_level = 2
    assert subject(request) == {
        "name": "n" * 128,
        "elf": "400 bytes",
        "replace": True,
        "lifetime": {"session": "token"},
        "options": {"constants": "1 entries", "log_level": 2},
    }
