# SPDX-License-Identifier: Apache-2.0
"""A virtual board, switched on once for a run: `pytest tests/vm --board arm64-6.12`.

`python -m tests.vm` runs several boards and makes a matrix of what they said.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kernel.cli_support import Cli
from tests.vm.command_line import BoardCli
from tests.vm.on_board_run import OnBoard
from tests.vm.ready import ReadyBoard, switch_on

_SECONDS = 2700
"""For one test; a board's first one waits until it has run all tests on itself."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("boards")
    group.addoption("--board", help="the virtual board to test on, as `bpfctl lab list` says")
    group.addoption("--look", choices=("ssh", "adb", "android"), default="ssh")
    group.addoption("--quick", action="store_true", help="on the board only the tests of hooks")
    group.addoption("--facts", type=Path, help="file for what was measured, JSON")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    own = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in own:
        item.add_marker(pytest.mark.timeout(_SECONDS))
        if config.getoption("--board") is None:
            item.add_marker(pytest.mark.skip(reason="needs --board NAME"))


_repeated: list[dict[str, str]] = []
"""Tests that failed once, and why."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.outcome == "rerun":  # type: ignore[comparison-overlap]
        _repeated.append({"test": report.nodeid, "why": report.longreprtext[-4000:]})


@pytest.fixture(scope="session")
def facts(request: pytest.FixtureRequest) -> Iterator[dict[str, object]]:
    """What was measured, for the matrix."""
    found: dict[str, object] = {}
    yield found
    found["repeated"] = _repeated
    path = request.config.getoption("--facts")
    if path is not None:
        path.write_text(json.dumps(found, indent=1) + "\n")


@pytest.fixture(scope="session")
def stage() -> Iterator[Path]:
    """A folder for the run; the user's own targets are not touched."""
    with tempfile.TemporaryDirectory(prefix="bpfd-vm-") as folder, ExitStack() as undo:
        before = os.environ.get("BPFCTL_CONFIG_DIR")
        os.environ["BPFCTL_CONFIG_DIR"] = f"{folder}/config"
        undo.callback(_restore, before)
        yield Path(folder)


def _restore(before: str | None) -> None:
    if before is None:
        os.environ.pop("BPFCTL_CONFIG_DIR", None)
    else:
        os.environ["BPFCTL_CONFIG_DIR"] = before


@pytest.fixture(scope="session")
def recipe(request: pytest.FixtureRequest) -> str:
    """Name of the board's recipe."""
    return str(request.config.getoption("--board"))


@pytest.fixture(scope="session")
def look(request: pytest.FixtureRequest) -> str:
    """How the board is reached and what it looks like: ssh, adb or android."""
    return str(request.config.getoption("--look"))


@pytest.fixture(scope="session")
def board(
    recipe: str, look: str, stage: Path, facts: dict[str, object]
) -> Iterator[ReadyBoard]:
    """The board, with a daemon that answers."""
    with switch_on(recipe, look, facts) as ready:
        yield ready


@pytest.fixture
def bpfctl(board: ReadyBoard) -> Cli:
    """The command line in this repository, at the board."""
    return BoardCli(Path(), Path(__file__).parents[2], board.name)


@pytest.fixture(scope="session")
def on_board(request: pytest.FixtureRequest, board: ReadyBoard, stage: Path) -> OnBoard:
    """The tests of tests/kernel, which the board runs on itself: those that were chosen."""
    chosen = [
        item.callspec.params["module"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and "on_board" in item.fixturenames
        and hasattr(item, "callspec")
    ]
    return OnBoard(board, stage, [f"test_{module}.py" for module in chosen])
