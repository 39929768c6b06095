# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.vm`: the tests on virtual boards, and the matrix of what they said.

Ends with 0 when nothing failed on any board. `build/vm-matrix.json` has every test of every
board; `--docs` writes the matrix into docs/boards.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.vm import expected, matrix

ROOT = Path(__file__).resolve().parents[2]
MATRIX = ROOT / "build" / "vm-matrix.json"
PAGE = ROOT / "docs" / "boards.md"
MARK = "<!-- written by `python -m tests.vm --docs` -->\n"

SECONDS = 3600
"""Longest time for one board."""


_HOOKS = "not adverse and not lab and not chain_flood and not chain_life"
_FEWER = f"{_HOOKS} and not tracing_ and not test_trace.py"
"""On the slow boards: packages that trace are tried on the last one, and by `make vm`."""


@dataclass(frozen=True)
class Run:
    """One board with one look."""

    board: str
    look: str = "ssh"
    quick: bool = False
    only: str = ""
    """As for pytest -k."""
    part: str = ""
    """Of the tests of a board that runs more than once."""

    @property
    def name(self) -> str:
        words = [self.board, self.look if self.look != "ssh" else "", self.part]
        return ", ".join(filter(None, words))

    @property
    def arguments(self) -> list[str]:
        words = ["--board", self.board, "--look", self.look]
        words += ["-k", self.only] if self.only else []
        return [*words, "--quick"] if self.quick else words


def pushed() -> list[Run]:
    """What every change is tested on: what one board told need not be told by all.

    The longest first, so that two at a time end together. What takes boards of its own goes
    to the last one, where a daemon starts in a third of the time that others take.
    """
    *others, last = expected.PUSHED
    return [
        *(Run(board, quick=True, only=_FEWER) for board in others),
        Run(last, quick=True, only="adverse or lab", part="bad times"),
        Run(last, quick=True, only=_HOOKS),
        Run(others[-1], "android", quick=True, only="tour or daemon or leftovers"),
    ]


def main(words: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(words)
    if options.docs and not options.boards:
        _write_page(matrix.read(MATRIX))
        return 0
    runs = pushed() if options.pushed else _asked(options)
    with tempfile.TemporaryDirectory(prefix="bpfd-vm-run-") as folder:
        begin = time.monotonic()
        with ThreadPoolExecutor(options.jobs) as pool:
            columns = list(pool.map(lambda run: _test(run, Path(folder)), runs))
    ran = columns
    if options.merge and MATRIX.exists():
        columns = matrix.merged(matrix.read(MATRIX), columns)
    matrix.write(columns, MATRIX)
    print(matrix.text(columns))
    if options.docs:
        _write_page(columns)
    failed = sum(len(each.failed) for each in ran)
    seconds = time.monotonic() - begin
    print(f"\n{len(ran)} boards in {seconds:.0f} s: {failed or 'nothing'} failed; {MATRIX}")
    return 1 if failed else 0


def _asked(options: argparse.Namespace) -> list[Run]:
    boards = options.boards.split(",") if options.boards else expected.BOARDS
    runs = [Run(board, quick=options.quick, only=options.only) for board in boards]
    if options.android:
        runs.append(Run(options.android, "android", quick=True, only=options.only))
    return runs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    add = parser.add_argument
    add("--pushed", action="store_true", help="what every change is tested on, in 15 minutes")
    add("--boards", default="", help="names with commas; all when none is given")
    add(
        "--android", default="", metavar="BOARD", help="once more over adb, with Android's look"
    )
    add(
        "--quick",
        action="store_true",
        help="on the boards only the tests of hooks and packages",
    )
    add("--only", default="", metavar="EXPRESSION", help="tests to run, as for pytest -k")
    add("--jobs", type=int, default=2, help="boards at once (%(default)s)")
    add("--merge", action="store_true", help="keep the columns of other boards")
    add("--docs", action="store_true", help="write docs/boards.md, of the last run by itself")
    return parser


def _test(run: Run, folder: Path) -> matrix.Column:
    """Runs pytest for one board and says so."""
    stem = folder / run.name.replace(", ", "-").replace(" ", "-")
    junit, facts, log = (Path(f"{stem}.{end}") for end in ("xml", "json", "log"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(Path(__file__).parent),
        "-q",
        "-rfE",
        "--reruns=1",
    ]
    command += [*run.arguments, f"--facts={facts}", f"--junitxml={junit}"]
    command += ["-o", "junit_family=xunit1"]
    print(f"{run.name}: started", flush=True)
    begin = time.monotonic()
    with log.open("wb") as out:
        try:
            subprocess.run(
                command, cwd=ROOT, stdout=out, stderr=out, timeout=SECONDS, env=_environment()
            )
        except subprocess.TimeoutExpired:
            out.write(b"it took too long\n")
    found = matrix.column(run.name, time.monotonic() - begin, junit, facts)
    if not junit.exists():
        found.tests[0]["why"] = log.read_text(errors="replace")[-4000:]
    print(f"{run.name}: {len(found.failed)} failed, {found.seconds:.0f} s", flush=True)
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def _write_page(columns: Sequence[matrix.Column]) -> None:
    before = PAGE.read_text().partition(MARK)[0]
    PAGE.write_text(before + MARK + "\n" + matrix.page(columns))
    print(PAGE)


if __name__ == "__main__":
    sys.exit(main())
