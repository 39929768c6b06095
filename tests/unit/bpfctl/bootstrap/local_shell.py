# SPDX-License-Identifier: Apache-2.0
"""A shell of this machine in the place of a target's."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bpfctl.bootstrap.shell import Completed
from bpfctl.errors import TargetUnreachable


class LocalShell:
    """Runs scripts here, with `tools` before PATH; breaks when told to."""

    name = "here"

    def __init__(self, tools: Path | None = None, home: Path | None = None) -> None:
        self.environment = dict(os.environ)
        if tools is not None:
            self.environment["PATH"] = f"{tools}:{self.environment['PATH']}"
        if home is not None:
            self.environment["HOME"] = str(home)
        self.break_after: int | None = None
        """Bytes of standard input after which the connection breaks."""
        self.received = 0
        self.ran: list[str] = []

    def run(
        self, script: str, stdin: bytes | Iterable[bytes] = b"", *, timeout: float = 60
    ) -> Completed:
        self.ran.append(script)
        process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )
        assert process.stdin is not None
        broken = False
        for piece in (stdin,) if isinstance(stdin, bytes) else stdin:
            try:
                process.stdin.write(piece)
                process.stdin.flush()
            except BrokenPipeError:
                break
            self.received += len(piece)
            if self.break_after is not None and self.received >= self.break_after:
                self.break_after, broken = None, True
                break
        stdout, stderr = process.communicate()
        if broken:
            raise TargetUnreachable(self.name, "the connection broke")
        return Completed(process.returncode, stdout, stderr)

    def dial(self, socket_path: str, fallback: str) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass


def pack(
    path: Path, files: dict[str, bytes], listed: dict[str, str] | None = None, **more: object
) -> Path:
    """A bundle for arm64 with these files, below `bpfd/`; `listed`: hashes that it claims."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    table = {"architecture": "arm64", "version": "0.1.0", "files": listed or hashes, **more}
    with tarfile.open(path, "w:gz") as archive:
        everything = {**files, "manifest.json": json.dumps(table).encode()}
        for name, data in everything.items():
            entry = tarfile.TarInfo(f"bpfd/{name}")
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return path
