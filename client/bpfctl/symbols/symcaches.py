# SPDX-License-Identifier: Apache-2.0
"""Symcaches on disk, made once of each file, and what is found in them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfctl.config import cache_dir
from bpfctl.symbols.demangle import demangle
from bpfctl.symbols.elf import Facts
from bpfctl.symbols.folder import BoundedFolder

if TYPE_CHECKING:
    from symbolic.symcache import SymCache

MAX_BYTES = 2 << 30
"""Of all symcaches together."""

CONVERT_SECONDS = 600.0
"""For one file; a kernel with its debug information takes two minutes."""


@dataclass(frozen=True, slots=True)
class Location:
    """A function at an address of a file."""

    name: str
    file: str
    line: int
    offset: int
    """Bytes from the beginning of the function; 0 for what is inlined."""


class Symbols:
    """Functions of one file by virtual address."""

    def __init__(self, cache: SymCache, facts: Facts, note: str = "") -> None:
        self._cache = cache
        self.facts = facts
        self.note = note
        """What is weaker than it could be; empty: nothing."""

    def find(self, address: int) -> tuple[Location, ...]:
        """The functions at an address, what was inlined first; empty: none is known."""
        relative = address - self.facts.base
        # Symcaches count in 32 bits.
        if not 0 <= relative < 0xFFFFFFFF:
            return ()
        found = self._cache.lookup(relative)
        last = len(found) - 1
        return tuple(
            Location(
                demangle(each.symbol),
                each.full_path or "",
                each.line if each.full_path else 0,
                relative - each.sym_addr if at == last and each.sym_addr <= relative else 0,
            )
            for at, each in enumerate(found)
            if each.symbol not in ("", "?")
        )


class Symcaches:
    """Makes and finds them, by build id or hash of the content."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = BoundedFolder(folder or cache_dir() / "symbols" / "symcache", MAX_BYTES)

    def find(self, key: str) -> Symbols | None:
        """What was made before under a key; None: nothing, or it is damaged."""
        from symbolic.exceptions import SymbolicError
        from symbolic.symcache import SymCache

        path, about = self._folder.find(self._name(key)), self._folder.find(f"{key}.json")
        if path is None or about is None:
            return None
        try:
            fields = json.loads(about.read_bytes())
            return Symbols(
                SymCache.open(str(path)), Facts.from_json(fields["facts"]), fields["note"]
            )
        except (OSError, ValueError, LookupError, TypeError, SymbolicError):
            return None

    def make(self, key: str, path: Path) -> Symbols:
        """Reads a file and keeps what it tells. Raises ValueError where that is nothing."""
        from symbolic.exceptions import SymbolicError
        from symbolic.symcache import SymCache

        try:
            with self._folder.fresh() as fresh, self._folder.fresh() as about:
                fields = convert_apart(path, fresh)
                if fields["error"]:
                    raise ValueError(fields["error"])
                about.write_text(json.dumps(fields))
                kept = self._folder.keep(fresh, self._name(key))
                self._folder.keep(about, f"{key}.json")
                cache = SymCache.open(str(kept))
        except (OSError, SymbolicError) as error:
            raise ValueError(str(error)) from None
        return Symbols(cache, Facts.from_json(fields["facts"]), fields["note"])

    @staticmethod
    def _name(key: str) -> str:
        from symbolic.symcache import SYMCACHE_LATEST_VERSION

        return f"{key}.v{SYMCACHE_LATEST_VERSION}"


def convert_apart(path: Path, out: Path) -> dict[str, Any]:
    """`bpfctl.symbols.convert.answer` of a process of its own; raises ValueError where that
    ended badly."""
    command = [sys.executable, "-m", "bpfctl.symbols.convert", str(path), str(out)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CONVERT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading it took longer than {CONVERT_SECONDS:g} s") from None
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise ValueError(f"what reads it ended with {done.returncode}") from None
    return found
