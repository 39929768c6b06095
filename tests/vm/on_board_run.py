# SPDX-License-Identifier: Apache-2.0
"""Runs tests/kernel on a board: in its kernel, with the bundle's Python and libbpf."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bpfctl.errors import BpfctlError
from bpfctl.facts import facts_of

from tests.vm import objects, overlay
from tests.vm.ready import ReadyBoard

FOLDER = "/data/overlay"

_SECONDS = 2400.0
"""For the tests of one board, which may say nothing until their end."""

QUICK = ("attach_", "ring", "spec", "package_", "tracing_")
"""Of the tests that a board can run, those that need no daemon of their own."""

_MODULES = "veth dummy tun sch_ingress cls_bpf act_bpf nf_defrag_ipv4 nf_defrag_ipv6 loop"
"""Kernel modules that the tests need; boards load none by themselves."""

_RUN = """
cd {folder} || exit 9
for module in {modules}; do modprobe $module 2>/dev/null; done
mkdir -p tmp
# `ip netns` keeps its names there. Android has no /run, and a / that only the owner writes to.
mkdir -p /run/netns 2>/dev/null || {{
    mount -o remount,rw / && mkdir -p /run
    mount -o remount,ro /
    mount -t tmpfs tmpfs /run
}}
export PATH={folder}/tools:$PATH TMPDIR={folder}/tmp HOME={folder}/tmp
export BPFD_BUNDLE={bundle} BPFD_TEST_PROGRAM={bundle}/bpfd BPFD_TEST_SHARED_DAEMON=1
export BPFD_TEST_OBJECTS={folder}/objects BPFD_TEST_REPORT={folder}/report.jsonl
export BPFD_TEST_EXCLUSIVE=1
./python -m pytest -c pytest.ini -q --tb=short --reruns 1 {files} 2>&1
status=$?
[ $status -le 1 ] || {{ echo "pytest ended with $status"; dmesg | tail -n 20; }}
"""


@dataclass(frozen=True)
class Result:
    """How one test ended on the board."""

    test: str
    outcome: str
    """passed, skipped or failed."""
    why: str
    """Of one that passed when it was repeated: why it failed before."""
    seconds: float


def modules(quick: bool) -> list[str]:
    """Files of tests/kernel that run on a board."""
    found = sorted(path.name for path in overlay.tests())
    return [name for name in found if not quick or name.removeprefix("test_").startswith(QUICK)]


class OnBoard:
    """The results by file of tests; the first who asks waits for the run."""

    def __init__(self, board: ReadyBoard, scratch: Path, files: list[str]) -> None:
        self._board = board
        self._scratch = scratch
        self._files = files
        self.output = ""

    @cached_property
    def results(self) -> dict[str, list[Result]]:
        """All results; none when the board could not run the tests, `output` says why."""
        try:
            return self._run()
        except (AssertionError, BpfctlError) as error:
            self.output = str(error)
            return {}

    def _run(self) -> dict[str, list[Result]]:
        self._bring()
        board = self._board
        script = _RUN.format(
            folder=FOLDER,
            modules=_MODULES,
            bundle=board.bundle,
            files=" ".join(f"tests/kernel/{name}" for name in self._files),
        )
        done = board.lab.run(script, timeout=_SECONDS)
        self.output = done.text
        found: dict[str, list[Result]] = {}
        for line in board.try_(f"cat {FOLDER}/report.jsonl").text.splitlines():
            result = Result(**json.loads(line))
            name = Path(result.test.partition("::")[0]).name
            found.setdefault(name, []).append(result)
        return found

    def _bring(self) -> None:
        """Tests, tools and compiled objects."""
        board = self._board
        board.run(f"rm -rf {FOLDER}")
        path = overlay.build(board.lab.arch)
        board.run("cd /data && gzip -dc | tar xf -", path.read_bytes(), timeout=200)
        with board.target() as target:
            compiled = self._scratch / "objects"
            objects.compile_all(compiled, facts_of(target), target.btf.kernel_bytes)
        packed = overlay.pack(compiled, "objects")
        board.run(f"cd {FOLDER} && gzip -dc | tar xf -", packed, timeout=200)
