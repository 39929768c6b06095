# SPDX-License-Identifier: Apache-2.0
"""The command `bpfctl`. Each command is a file of this folder, imported when it is used."""

from __future__ import annotations

from bpfctl.cli.root import main

__all__ = ["main"]
