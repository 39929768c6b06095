# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.demo`: the main job on this kernel, shown step by step.

Ends with one line `demo ok: ...` and 0; else says on standard error what was not as it must
be, with 1. Whatever happens, what it made is removed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.demo import requirements
from tests.demo.outcome import Deviation
from tests.demo.story import tell


class Interrupted(BaseException):
    """A signal asks for the end."""


def main() -> int:
    try:
        requirements.check()
        with signals_end_the_run(), own_folder() as folder:
            outcome = tell(folder)
    except Deviation as deviation:
        print(f"\ndemo failed: {deviation}", file=sys.stderr)
        return 1
    except Exception as error:
        traceback.print_exc()
        print(f"\ndemo failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except Interrupted:
        print("\ndemo interrupted; what it had made is removed", file=sys.stderr)
        return 130
    print(f"\n{outcome.line()}")
    return 0


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for all files of the run, its temporary ones and those of its children."""
    folder = Path(tempfile.mkdtemp(prefix="bpfd-demo-"))
    try:
        (folder / "tmp").mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
        os.environ["BPFCTL_CONFIG_DIR"] = str(folder / "config")
        os.environ["BPFCTL_CACHE_DIR"] = str(folder / "cache")
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def signals_end_the_run() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the run, the others do not disturb its clean-up."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, end)
    yield


if __name__ == "__main__":
    sys.exit(main())
