# SPDX-License-Identifier: Apache-2.0
"""Byte code is the same for the same source, and is imported without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bpfctl.bundle.inside.compile import compiled, write

SOURCE = 'def f():\n    "a text"\n    assert False\n    return {"b", "a", "c"}\n'


def test_the_same_source_gives_the_same_bytes() -> None:
    code = (
        "import sys\nsys.path.insert(0, sys.argv[1])\n"
        "from bpfctl.bundle.inside.compile import compiled\n"
        f"sys.stdout.buffer.write(compiled({SOURCE.encode()!r}, 'x.py'))"
    )
    client = str(Path(__file__).resolve().parents[5] / "client")
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, client],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
    assert outputs == {compiled(SOURCE.encode(), "x.py")}


def test_it_is_imported_without_the_source(tmp_path: Path) -> None:
    (tmp_path / "source.py").write_text(SOURCE)
    write(tmp_path / "source.py", "sub/module.py", tmp_path / "sub" / "module.pyc")
    code = "import sub.module as m; print(m.f.__doc__, sorted(m.f()), m.f.__code__.co_filename)"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None ['a', 'b', 'c'] sub/module.py\n"
