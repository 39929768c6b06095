# SPDX-License-Identifier: Apache-2.0
"""Why an object could not be built."""

from __future__ import annotations


class BuildError(Exception):
    """The object could not be built; the text says what to do next."""


class NoCompiler(BuildError):
    """There is no clang that can compile for BPF."""


class NoKernelTypes(BuildError):
    """The source needs vmlinux.h and it cannot be made for this target."""


class CompileError(BuildError):
    """The compiler refused the source.

    `output` is what it said, unchanged: file:line:column and the source line.
    """

    def __init__(self, output: str, hint: str = "") -> None:
        super().__init__(output.rstrip() + (f"\n{hint}" if hint else ""))
        self.output = output
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.output, self.hint))
