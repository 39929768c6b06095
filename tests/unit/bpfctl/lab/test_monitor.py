# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bpfctl.lab import monitor
from bpfctl.lab.errors import LabError

Play = Callable[[Callable[[dict[str, Any]], Any] | None], Path]


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Play]:
    """Starts a peer that greets and answers as QEMU does, for one connection."""
    path = tmp_path / "monitor"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    threads: list[threading.Thread] = []

    def play(answer: Callable[[dict[str, Any]], Any] | None) -> Path:
        def serve() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as stream:
                stream.write(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
                stream.flush()
                for line in stream:
                    asked = json.loads(line)
                    if asked["execute"] == "qmp_capabilities":
                        said: Any = {"return": {}}
                    elif answer is None:
                        return
                    else:
                        stream.write(b'{"event": "RTC_CHANGE", "data": {}}\r\n')
                        said = answer(asked)
                    stream.write(json.dumps(said).encode() + b"\r\n")
                    stream.flush()

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return path

    yield play
    server.close()
    for thread in threads:
        thread.join(5)


def test_answers_are_told_from_events(qemu: Play) -> None:
    asked: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {"return": {"status": "running"}}

    path = qemu(answer)
    assert monitor.execute(path, "set_link", name="eth1", up=False) == {"status": "running"}
    assert asked == [{"execute": "set_link", "arguments": {"name": "eth1", "up": False}}]


def test_what_qemu_refuses(qemu: Play) -> None:
    path = qemu(lambda _: {"error": {"class": "GenericError", "desc": "no such device"}})
    with pytest.raises(LabError, match="QEMU refuses set_link: no such device"):
        monitor.execute(path, "set_link")


def test_a_monitor_that_closes(qemu: Play) -> None:
    with pytest.raises(OSError, match="closed its monitor"):
        monitor.execute(qemu(None), "quit")


def test_no_monitor(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        monitor.execute(tmp_path / "none", "quit")
