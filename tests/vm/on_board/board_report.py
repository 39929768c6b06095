# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest: one line of JSON for each test, in the file of BPFD_TEST_REPORT."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest


class Report:
    """Writes a test's outcome when its last phase is over."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "a", buffering=1)  # noqa: SIM115
        self._seen: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        entry = self._seen.setdefault(
            report.nodeid,
            {"test": report.nodeid, "outcome": "passed", "why": "", "seconds": 0.0},
        )
        entry["seconds"] = round(entry["seconds"] + report.duration, 2)
        if report.outcome == "rerun":  # type: ignore[comparison-overlap]
            entry["why"] = f"{report.when}: {report.longreprtext}"
        elif report.failed:
            entry["outcome"] = "failed"
            entry["why"] = f"{entry['why']}\n{report.when}: {report.longreprtext}".strip()
        elif report.skipped and entry["outcome"] == "passed":
            entry["outcome"], entry["why"] = "skipped", _reason(report)
        if report.when == "teardown":
            self._file.write(json.dumps(self._seen.pop(report.nodeid)) + "\n")


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)


def pytest_configure(config: pytest.Config) -> None:
    if path := os.environ.get("BPFD_TEST_REPORT"):
        config.pluginmanager.register(Report(path), "board-report")
