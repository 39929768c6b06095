# SPDX-License-Identifier: Apache-2.0
"""A diagnostic as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import Diagnostic

MAX_WORDS = 8
"""Lines of the log that are shown unless all of it is asked for."""

MAX_WIDTH = 240


def render(diagnostic: Diagnostic, verbose: bool = False) -> str:
    """The diagnostic in the form of a compiler's error; all of the log with `verbose`."""
    lines = [_head(diagnostic), *_source(diagnostic)]
    if diagnostic.function != diagnostic.program:
        lines.append(f"  in {diagnostic.function}(), which {diagnostic.program} calls")
    if verbose:
        lines += ["the verifier's log:", diagnostic.log.rstrip("\n")]
    elif diagnostic.context_lines:
        words = diagnostic.context_lines[-MAX_WORDS:]
        lines.append("  the verifier's last words:")
        lines += [f"    {_cut(word)}" for word in words]
    if diagnostic.advice:
        lines.append(f"  help: {diagnostic.advice}")
    return "\n".join(lines)


def _head(diagnostic: Diagnostic) -> str:
    place = diagnostic.file
    if place and diagnostic.line:
        place += f":{diagnostic.line}"
        if diagnostic.column:
            place += f":{diagnostic.column}"
    refused = f"error: the verifier refused {diagnostic.program}: {diagnostic.message}"
    return f"{place}: {refused}" if place else refused


def _source(diagnostic: Diagnostic) -> list[str]:
    text = diagnostic.source_text
    if not text.strip():
        return []
    number = str(diagnostic.line or "")
    lines = [f"{number:>5} | {_cut(text.expandtabs(8))}"]
    if 0 < diagnostic.column <= len(text):
        before = len(text[: diagnostic.column - 1].expandtabs(8))
        if before < MAX_WIDTH:
            lines.append(f"{'':>5} | {'':>{before}}^")
    return lines


def _cut(text: str) -> str:
    return text if len(text) <= MAX_WIDTH else f"{text[: MAX_WIDTH - 3]}..."
