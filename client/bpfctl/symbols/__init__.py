# SPDX-License-Identifier: Apache-2.0
"""Addresses of a target as functions, files and lines; all work is done on the workstation."""

from __future__ import annotations

from bpfctl.symbols.frame import Frame
from bpfctl.symbols.process import Mapping, Process, snapshot
from bpfctl.symbols.symbolizer import Symbolizer

__all__ = ["Frame", "Mapping", "Process", "Symbolizer", "snapshot"]
