# SPDX-License-Identifier: Apache-2.0
"""`bpfctl -t BOARD` with a configuration of the test run's own."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tests.kernel.cli_support import Cli


@dataclass
class BoardCli(Cli):
    """Commands for one board."""

    target: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "BPFCTL_TARGET": self.target, "PYTHONUNBUFFERED": "1"}
