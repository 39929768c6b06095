# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/cli.md work, in the order of the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel import cli_support
from tests.kernel.cli_support import needs_clang
from tests.kernel.conftest import RunningDaemon

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"

_BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    return [line[2:] for line in text.splitlines() if line.startswith("$ ")]


@needs_clang
def test_commands_of_the_page(daemon: RunningDaemon, tmp_path: Path) -> None:
    environment = cli_support.make(daemon, tmp_path).environment
    scripts = Path(sys.executable).parent
    environment["PATH"] = f"{scripts}:{os.environ['PATH']}"
    ran = 0
    for language, name, text in _BLOCK.findall(PAGE.read_text()):
        if name:
            (tmp_path / name).write_text(text)
        elif language == "console":
            for command in commands(text):
                done = subprocess.run(
                    ["bash", "-c", command],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=60,
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
                ran += 1
        elif language == "python":
            _library(text, daemon, tmp_path, environment)
    assert ran > 25


def _library(
    text: str, daemon: RunningDaemon, folder: Path, environment: dict[str, str]
) -> None:
    """The example for scripts: for this target, and watching its own process."""
    text = text.replace('"board"', f'"unix:{daemon.socket}"')
    text = text.replace('{"watched": 7}', '{"watched": __import__("os").getpid()}')
    assert str(daemon.socket) in text
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith(" 0")


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 7, 8, 130, 141])
def test_exit_codes_are_in_help_and_page(code: int) -> None:
    from bpfctl.cli.root import EXIT_CODES

    assert re.search(rf"^  {code} ", EXIT_CODES, re.MULTILINE)
    assert f"\n| {code} | " in PAGE.read_text()
