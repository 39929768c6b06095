# SPDX-License-Identifier: Apache-2.0
"""One table of a `package.toml`, taken apart key by key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .model import PackageError, near

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
C_NAME = re.compile(r"[A-Za-z_.][A-Za-z0-9_.]{0,127}")


class Table:
    """One TOML table that is emptied key by key; what is left over is unknown."""

    def __init__(self, where: str, table: object) -> None:
        if not isinstance(table, dict):
            raise PackageError(f"{where} is not a table")
        self.where = where
        self.left: dict[str, Any] = dict(table)
        self.asked: list[str] = []

    def take(self, key: str, kind: type, needed: bool = True) -> Any:
        """The value of a key, which must have this type."""
        self.asked.append(key)
        if key not in self.left:
            if needed:
                raise PackageError(f"{self.where}{key} is missing{near(key, self.left)}")
            return None
        value = self.left.pop(key)
        if type(value) is not kind:
            words = {str: "a text", bool: "true or false", list: "a list", dict: "a table"}
            raise PackageError(f"{self.where}{key} is not {words[kind]}: {value!r}")
        if isinstance(value, str) and not value.strip():
            raise PackageError(f"{self.where}{key} is empty")
        return value

    def name(self, key: str, pattern: re.Pattern[str], needed: bool = True) -> Any:
        """A text of a form."""
        value = self.take(key, str, needed)
        if value is not None and not pattern.fullmatch(value):
            raise PackageError(
                f"{self.where}{key} {value!r} is not of the form {pattern.pattern}"
            )
        return value

    def texts(self, key: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        """A list of texts of a form."""
        values = self.take(key, list, needed=False) or []
        for value in values:
            if not isinstance(value, str) or not pattern.fullmatch(value):
                raise PackageError(
                    f"{self.where}{key} {value!r} is not of the form {pattern.pattern}"
                )
        return tuple(values)

    def tables(self, key: str) -> Iterator[Table]:
        """The tables of a list, which errors call by their name."""
        for index, entry in enumerate(self.take(key, list, needed=False) or []):
            name = entry.get("name") if isinstance(entry, dict) else None
            name = name if isinstance(name, str) else index
            yield Table(f"{self.where}{key}[{name}].", entry)

    def done(self) -> None:
        """Raises PackageError for a key that nobody asked for."""
        for key in self.left:
            raise PackageError(f"{self.where}{key} is an unknown key{near(key, self.asked)}")


def unique(key: str, names: list[str]) -> None:
    """Raises PackageError for a name that is there twice."""
    for name in names:
        if names.count(name) > 1:
            raise PackageError(f"{key}: {name!r} is there twice")
