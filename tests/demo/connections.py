# SPDX-License-Identifier: Apache-2.0
"""Step 5: a tracing program tells of a real HTTP request."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.demo import console, network
from tests.demo.outcome import Deviation, expect
from tests.demo.processes import Process, in_namespace
from tests.demo.stage import Stage
from tests.demo.traffic import http_get, wait_until

HTTP_PORT = 8080


def follow(stage: Stage) -> None:
    console.heading("5. A tracing program tells of an HTTP request")
    pages = stage.folder / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("It works.\n" * 1000)
    words = [sys.executable, "-m", "http.server", str(HTTP_PORT), "--bind", network.TARGET]
    words = in_namespace(stage.place, *words, "--directory", str(pages))
    server = Process(words, stage.folder / "http.log")
    stage.cleaning.callback(server.close)
    wait_until("the HTTP server listens", lambda: _listens(server))

    netns = stage.place.inode(stage.place.target)
    stage.bpfctl("load", "bpf/tcplife", "--name", "tcplife", "--set", f"netns={netns}")
    stage.bpfctl("attach", "tcplife/tcplife", "tracepoint:sock/inet_sock_set_state")
    stage.note()
    request, answer, client = http_get(stage.place, HTTP_PORT, "/index.html")
    console.say("")
    console.say(f"GET http://{network.TARGET}:{HTTP_PORT}/index.html")
    console.say(answer.split(b"\r\n")[0].decode())
    expect("status of the answer", answer.split()[1:2], [b"200"])
    (event,) = stage.events("tcplife/ended", 1)
    wanted = {
        "local": network.TARGET,
        "local_port": HTTP_PORT,
        "remote": client[0],
        "remote_port": client[1],
        "bytes_received": len(request),
        "bytes_sent": len(answer),
        "origin": "ACCEPTED",
        "netns": netns,
        "pid": server.pid,
    }
    expect("the event", {name: event[name] for name in wanted}, wanted)
    expect("a duration", event["duration_ns"] > 0, True)
    server.stop()


def _listens(server: Process) -> bool:
    if not server.running():
        raise Deviation(f"the HTTP server ended: {server.said().strip()}")
    text = Path("/proc", str(server.pid), "net", "tcp").read_text()
    return f":{HTTP_PORT:04X} 00000000:0000 0A" in text
