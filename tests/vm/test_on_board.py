# SPDX-License-Identifier: Apache-2.0
"""tests/kernel in the kernel of a board: hooks, maps, rings, packages."""

from __future__ import annotations

import pytest

from tests.vm import expected
from tests.vm.on_board_run import OnBoard, modules


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "module" in metafunc.fixturenames:
        quick = bool(metafunc.config.getoption("--quick"))
        names = [name.removeprefix("test_").removesuffix(".py") for name in modules(quick)]
        metafunc.parametrize("module", names)


def test_kernel(on_board: OnBoard, recipe: str, module: str, facts: dict[str, object]) -> None:
    results = on_board.results.get(f"test_{module}.py")
    assert results, f"the board ran none of them:\n{on_board.output[-6000:]}"
    noted = facts.setdefault("on board", {})
    assert isinstance(noted, dict)
    noted[module] = [vars(each) for each in results]
    failed = [each for each in results if each.outcome == "failed"]
    assert not failed, "\n\n".join(f"{each.test}\n{each.why}" for each in failed)
    skipped = [each for each in results if each.outcome == "skipped"]
    strange = [each for each in skipped if not expected.allows(recipe, each.why)]
    assert not strange, "skipped without need:\n" + "\n".join(
        f"{each.test}: {each.why}" for each in strange
    )
    if len(skipped) == len(results):
        pytest.skip(skipped[0].why)
