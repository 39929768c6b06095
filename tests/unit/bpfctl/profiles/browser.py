# SPDX-License-Identifier: Apache-2.0
"""A browser without a window, told by the DevTools protocol through pipes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)

needed = pytest.mark.skipif(BROWSER is None, reason="there is no chromium")

_EXEC = """
import fcntl, os, sys
given = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for number, place in zip(given, (3, 4)):
    os.dup2(number, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Starts a program with two files where the protocol wants them."""


class Page:
    """A page that is open."""

    def __init__(self, into: IO[bytes], out: IO[bytes]) -> None:
        self._into, self._out = into, out
        self._calls = 0
        self._session = ""
        self.said: list[Any] = []
        """What the page logged and threw, and each address that it asked for."""

    def open(self, address: str) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        wanted = [address, "complete"]
        assert self.until("[document.URL, document.readyState]", wanted) == wanted

    def evaluate(self, expression: str) -> Any:
        """Its value; a promise's when it is kept."""
        found = self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str, wanted: Any) -> Any:
        """The value of an expression once it is what is wanted; its last one, 30 s later."""
        end = time.monotonic() + 30
        while (found := self.evaluate(expression)) != wanted and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def call(self, method: str, **parameters: Any) -> Any:
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._into.write(json.dumps(message).encode() + b"\0")
        self._into.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event: Any) -> None:
        if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(event["params"])
        elif event["method"] == "Network.requestWillBeSent":
            self.said.append(event["params"]["request"]["url"])

    def _read(self) -> Any:
        text = b""
        while not text.endswith(b"\0"):
            letter = self._out.read(1)
            assert letter, "the browser ended"
            text += letter
        return json.loads(text[:-1])


@contextmanager
def opened(file: Path) -> Iterator[Page]:
    """The page of a file."""
    assert BROWSER is not None
    their_in, our_in = os.pipe()
    our_out, their_out = os.pipe()
    command = [
        BROWSER,
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--remote-debugging-pipe", "--window-size=1200,800"),
        f"--user-data-dir={file.parent / 'browser'}",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", _EXEC, str(their_in), str(their_out), *command],
        pass_fds=(their_in, their_out),
        stderr=subprocess.DEVNULL,
    )
    os.close(their_in)
    os.close(their_out)
    with open(our_in, "wb") as into, open(our_out, "rb") as out:
        try:
            page = Page(into, out)
            page.open(file.as_uri())
            yield page
        finally:
            process.kill()
            process.wait()
