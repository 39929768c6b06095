# SPDX-License-Identifier: Apache-2.0
"""What a target says of needs: its daemon by trying, its BTF by looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfctl.btf.kinds import Kind
from bpfctl.errors import NotSupported

from . import core
from .needs import Need
from .since import map_flags_since

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.target import Target
    from bpfd.v1 import target_pb2

_BTF_ASKS = ("btf", "core")


@dataclass(frozen=True)
class Answer:
    """Whether one need is met. `met` None: only the dry load tells, or attaching."""

    met: bool | None
    probe: str = ""
    """How that was found, and what came back."""
    since: str = ""
    """First kernel that has it, or bounds; empty: unknown."""
    helps: str = ""
    """What would make it work; empty: unknown."""


def answers(target: Target, needs: Sequence[Need]) -> list[Answer]:
    """One for each need, in their order."""
    from bpfd.v1 import target_pb2

    asked = [need for need in needs if need.ask and need.ask[0] not in _BTF_ASKS]
    request = target_pb2.PreflightRequest(needs=[_message(need) for need in asked])
    by_daemon: dict[tuple[str, str], Answer] = {}
    if asked:
        response = target.rpc.call(
            target.rpc.target.Preflight, request, "Target.Preflight", timeout=None
        )
        for need, said in zip(asked, response.answers, strict=True):
            by_daemon[need.key] = _answer(need, said)
    btf: list[Btf | str] = []
    found = []
    for need in needs:
        if need.ask is None:
            found.append(Answer(None, since=need.since))
        elif need.ask[0] in _BTF_ASKS:
            if not btf:
                btf.append(_kernel_btf(target))
            found.append(by_btf(need, btf[0]))
        else:
            found.append(by_daemon[need.key])
    return found


def _kernel_btf(target: Target) -> Btf | str:
    """BTF of the target's kernel, or why there is none."""
    try:
        return target.btf.kernel()
    except NotSupported as error:
        return str(error)


def _message(need: Need) -> target_pb2.Need:
    from bpfd.v1 import target_pb2

    assert need.ask is not None
    which, value = need.ask
    names = _FIELDS.get(which)
    message = target_pb2.Need()
    if names is None:
        setattr(message, which, value)
        return message
    fields = getattr(message, which)
    fields.SetInParent()
    for name, number in zip(names, value, strict=True):
        setattr(fields, name, number)
    return message


_FIELDS: dict[str, tuple[str, ...]] = {
    "program": ("type", "expected_attach_type", "flags"),
    "map": ("type", "flags"),
    "helper": ("number", "program_type", "expected_attach_type"),
}
"""Of messages in Need, in the order of a need's numbers."""


def _answer(need: Need, said: target_pb2.NeedAnswer) -> Answer:
    from bpfd.v1 import target_pb2

    met = {target_pb2.MET_YES: True, target_pb2.MET_NO: False}.get(said.met)
    helps = said.needs
    if met is False and said.near and not helps:
        helps = f"near: {', '.join(said.near)}"
    since = need.since or said.since
    if need.ask and need.ask[0] == "map" and not since:
        since = map_flags_since(need.ask[1][1])
    return Answer(met, said.probe, since, helps)


def by_btf(need: Need, btf: Btf | str) -> Answer:
    """What BTF of the kernel says of a need; `btf` a text: why it is not known. Pure."""
    assert need.ask is not None
    which, value = need.ask
    if isinstance(btf, str):
        if value is None:
            return Answer(False, "no BTF of the kernel is known", helps=btf)
        # Of a kernel whose types nobody knows, none can be said to be missing.
        return Answer(None, "no BTF of the kernel is known")
    if value is None:
        return Answer(True, "BTF of the kernel is known")
    if which == "core":
        assert isinstance(value, core.CorePath)
        why = core.missing(btf, value)
        return Answer(why is None, why or "in the kernel's BTF", need.since)
    assert isinstance(value, tuple)
    name, kind = value
    if btf.find(name, kind) is not None:
        return Answer(True, "in the kernel's BTF", need.since)
    return Answer(
        # Modules have BTF of their own, which is not looked at.
        False,
        f"not in the kernel's BTF as a {_WORDS.get(kind, 'type')}",
        need.since,
        _near(btf, name, kind),
    )


_WORDS = {Kind.FUNC: "function", Kind.TYPEDEF: "tracepoint", Kind.STRUCT: "struct"}


def _near(btf: Btf, name: str, kind: Kind) -> str:
    import difflib

    stem = name[: max(4, len(name) // 3)]
    names = [found.name for found in btf.of_kind(kind) if found.name.startswith(stem)]
    near = difflib.get_close_matches(name, names, 3)
    return f"near: {', '.join(near)}" if near else ""
