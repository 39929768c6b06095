# SPDX-License-Identifier: Apache-2.0
"""From Enter to attached."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import processes, result
from tests.bench.processes import HERE, Missing

ROUNDS = 7
PIN = "/sys/fs/bpf/bpfd-bench-switches"


def _until(command: list[str], word: str, environment: dict[str, str]) -> tuple[float, str]:
    """Seconds until the command writes a line with `word`, and that line; it is ended."""
    before = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    seen = []
    try:
        for line in process.stdout:
            seen.append(line)
            if word in line:
                return time.perf_counter() - before, line.strip()
        raise Missing(f"{command[0]} failed: {''.join(seen[-3:]).strip()[:300]}")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.wait()


def _autoattach() -> list[str]:
    """The word for it, if this bpftool knows it (7.1 of some distributions does not)."""
    told = subprocess.run(["bpftool", "prog", "help"], capture_output=True, text=True)
    return ["autoattach"] if "autoattach" in told.stdout + told.stderr else []


def _bpftool(elf: Path, attach: list[str]) -> float:
    command = ["bpftool", "prog", "loadall", str(elf), PIN, *attach]
    before = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - before
    for name in os.listdir(PIN) if os.path.isdir(PIN) else []:
        os.unlink(f"{PIN}/{name}")
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(PIN)
    if done.returncode:
        raise Missing(f"bpftool failed: {done.stderr.strip()[-200:]}")
    return took


@contextlib.contextmanager
def _headers() -> Iterator[dict[str, str]]:
    """Where bcc finds kernel headers, for its environment.

    Debian splits them into two folders; bcc wants one, made here of links.
    """
    if Path(f"/lib/modules/{os.uname().release}/build").exists():
        yield {}
        return
    commons = sorted(Path("/usr/src").glob("linux-headers-*-common"))
    if not commons:
        raise Missing("there are no kernel headers (linux-headers-*)")
    version = commons[-1].name.removesuffix("-common")
    flavours = [
        each for each in sorted(Path("/usr/src").glob(f"{version}-*")) if each != commons[-1]
    ]
    with tempfile.TemporaryDirectory(prefix="bpfd-bench-") as merged:
        for folder in (commons[-1], *flavours[:1]):
            command = ["cp", "-rsf", f"{folder}/.", merged]
            subprocess.run(command, check=True, capture_output=True)
        yield {"BCC_KERNEL_SOURCE": merged}


def measure() -> tuple[list[result.Row], list[str]]:
    """The rows, and what could not be measured."""
    ours, bpftool, bcc = [], [], []
    missing: dict[str, str] = {}
    processes.build_bpf("switches")
    elf = processes.BUILD / "switches.bpf.o"
    notes, attach = "", _autoattach()
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(processes.daemon())
        try:
            processes.system_python_has("bcc")
            environment = stack.enter_context(_headers())
        except Missing as why:
            missing["bcc"] = str(why)
        source = str(HERE / "switches.bpf.c")
        command = [sys.executable, "-m", "bpfctl", "-t", f"unix:{running.socket}", "run"]
        command += [source, "--no-events", "--no-maps", "--timings"]
        _until(command, "timings:", {})  # compiles, and fills the cache
        for _ in range(ROUNDS):
            took, notes = _until(command, "timings:", {})
            ours.append(took)
            if "bpftool" not in missing:
                try:
                    bpftool.append(_bpftool(elf, attach))
                except (Missing, FileNotFoundError) as why:
                    missing["bpftool"] = str(why)
            if "bcc" not in missing:
                script = [processes.SYSTEM_PYTHON, str(HERE / "bcc_start.py")]
                try:
                    bcc.append(_until(script, "attached", environment)[0])
                except Missing as why:
                    missing["bcc"] = str(why)
    name = "run, unchanged source: from Enter to attached"
    where = re.sub(r".*timings: ", "", notes)
    rows = [
        result.compare(name, "s", ours, [0.5], "the goal", more_is_better=False, note=where),
        result.compare(
            name,
            "s",
            ours,
            bpftool,
            " ".join(["bpftool prog loadall", *attach]),
            more_is_better=False,
            note="of an object that was compiled before"
            + ("" if attach else "; this bpftool cannot attach"),
        ),
        result.compare(name, "s", ours, bcc, "bcc start-up", more_is_better=False),
    ]
    return rows, [f"{peer}: {why}" for peer, why in missing.items()]
