# SPDX-License-Identifier: Apache-2.0
"""The one place where tests look for a compiler."""

from __future__ import annotations

import os
import shutil

NAMES = ("clang-19", "clang-20", "clang-21", "clang-18", "clang-17", "clang-16", "clang")

CLANG = os.environ.get("BPFD_TEST_OBJECTS") or next(
    (path for name in NAMES if (path := shutil.which(name))), ""
)
"""Path of a clang that knows BPF, or of objects compiled beforehand; empty: neither."""
