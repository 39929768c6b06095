# SPDX-License-Identifier: Apache-2.0
"""Unwinding of user stacks without frame pointers: tables for bpf/include/bpfd/unwind.h."""

from bpfctl.unwind.rows import ROW, Kind, rows_of

__all__ = ["ROW", "Kind", "rows_of"]
