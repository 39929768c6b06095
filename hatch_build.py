# SPDX-License-Identifier: Apache-2.0
"""Fetches what the page of a flame graph is drawn with before a wheel is made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface):
    """Without npm the wheel is made all the same; scripts/setup-page says what it lacks."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            script = Path(self.root) / "scripts/setup-page"
            subprocess.run([sys.executable, str(script)], check=True)
