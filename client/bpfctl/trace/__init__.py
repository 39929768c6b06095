# SPDX-License-Identifier: Apache-2.0
"""One-off tracing of kernel functions, user functions and tracepoints, without writing C.

`subject.find` looks up on a target what a text names and what its arguments are;
`generate.source` writes the program (pure); `running.Trace` builds, loads, attaches and reads
it.
"""

from __future__ import annotations

from .errors import TraceError
from .spec import Spec, parse

__all__ = ["Spec", "TraceError", "parse"]
