# SPDX-License-Identifier: Apache-2.0
"""Attach points that are fixed when a program is loaded: functions of the kernel or of
another program, security hooks, BTF tracepoints, kinds of iterators.

    fentry:do_unlinkat   fexit:OBJECT/PROGRAM:FUNCTION   lsm:file_open   tp_btf:sched_switch
    iterator:task        freplace:OBJECT/PROGRAM[,function=FUNCTION]

The kernel has no call that aims a loaded program at something else, so that what stands
behind the colon is for the load.
"""

from __future__ import annotations

from dataclasses import dataclass

from .text import InvalidAttachPoint, escape, split, unescape

_SECTIONS = {
    "fentry": ("fentry",),
    "fexit": ("fexit",),
    "fmod_ret": ("fmod_ret",),
    "fsession": ("fsession",),
    "tracing": ("fentry", "fexit", "fmod_ret", "fsession"),
    "lsm": ("lsm",),
    "tp_btf": ("tp_btf",),
    "iterator": ("iter",),
    "iter": ("iter",),
    "freplace": ("freplace",),
}
"""Sections, without the ".s" of those that may sleep, by the name of `--attach`."""

_PREFIXES = {"tp_btf": "btf_trace_", "lsm": "bpf_lsm_", "iter": "bpf_iter_"}
"""What the kernel's BTF has before the name (btf_get_kernel_prefix_kind of libbpf)."""


@dataclass(frozen=True)
class Aimed:
    """An attach point of `--attach`, with what must be known before the program is loaded."""

    kind: str
    """As it was written."""
    point: str
    """The rest of the text, as `attachpoint.parse` reads it."""
    function: str
    """FUNCTION or PROGRAM:FUNCTION; empty: what the section says."""

    def fits(self, section: str) -> bool:
        """Whether a program of this section is of this kind."""
        return _head(section) in _SECTIONS[self.kind]

    def completed(self, section: str) -> Aimed:
        """With the function of the section where a program, but no function of it, is named."""
        function = section.partition("/")[2]
        if not self.function.endswith(":") or not function:
            return self
        return Aimed(
            self.kind, f"{self.point},function={escape(function)}", f"{self.function}{function}"
        )

    def same(self, kernel_name: str) -> bool:
        """Whether the function is the one that the kernel calls so."""
        _, _, name = self.function.rpartition(":")
        prefix = _PREFIXES.get(_SECTIONS[self.kind][0], "")
        return kernel_name.removeprefix(prefix) == name


def aimed(text: str) -> Aimed | None:
    """What a text of `--attach` fixes at load; None: another kind of attach point."""
    head, *options = split(text, ",")
    kind, *where = split(head, ":", 1)
    if kind not in _SECTIONS:
        return None
    if kind == "freplace":
        names = [each for each in options if each.startswith("function=")]
        target = f"{unescape(where[0])}:" if where and where[0] else ""
        function = unescape(names[0].removeprefix("function=")) if names else ""
        return Aimed(kind, text, f"{target}{function}" if target else "")
    if where and not where[0]:
        raise InvalidAttachPoint(f"{text!r}: a name follows the colon")
    function = unescape(where[0]) if where else ""
    return Aimed(kind, ",".join([kind, *options]), function)


def _head(section: str) -> str:
    return section.removeprefix("?").partition("/")[0].removesuffix(".s")
