# SPDX-License-Identifier: Apache-2.0
"""Events as files for other programs: Parquet, and traces for Perfetto.

Both need the extra `export` of the distribution; nothing of it is imported before.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Literal

Export = Literal["parquet", "perfetto"]
EXPORTS: tuple[Export, ...] = ("parquet", "perfetto")


def needed(module: str, what: str) -> ModuleType:
    """A module of the extra. Raises InvalidArgument, with what to install, without it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        from bpfctl.errors import InvalidArgument

        package = module.split(".", maxsplit=1)[0]
        raise InvalidArgument(
            "output",
            f"{what} needs the Python package {package} ({error}): "
            "pip install 'bpfd[client,export]'",
        ) from None
