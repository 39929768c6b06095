# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a wish to trace."""

from __future__ import annotations

from bpfctl.errors import InvalidArgument


class TraceError(InvalidArgument):
    """An expression, a specification or an option that does not fit what is traced."""
