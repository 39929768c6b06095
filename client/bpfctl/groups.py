# SPDX-License-Identifier: Apache-2.0
"""Several targets by one text: "a,b,c", "group:edge", or both.

Groups stand in `targets.toml` beside the targets:

    [groups]
    edge = ["board", "gateway"]
"""

from __future__ import annotations

from collections.abc import Iterable

from bpfctl import config
from bpfctl.config import GROUP
from bpfctl.errors import InvalidArgument, NotFound


def load_groups() -> dict[str, list[str]]:
    """Names of targets by group; raises InvalidArgument when the file is damaged."""
    groups = config.load_table("groups")
    for name, members in groups.items():
        if not isinstance(members, list) or not all(isinstance(item, str) for item in members):
            raise InvalidArgument(
                f"{config.targets_file()}: group {name!r}", "not a list of names of targets"
            )
    return groups


def join(target: str, groups: Iterable[str]) -> None:
    """Put a target into groups, which need not exist. Raises InvalidArgument."""
    wanted = [config.check_name(group, "group name") for group in groups]
    with config.changing_file():
        known = load_groups()
        for group in wanted:
            members = known.setdefault(group, [])
            if target not in members:
                members.append(target)
        config.save_table("groups", known)


def leave(target: str, groups: Iterable[str]) -> None:
    """Take a target out of groups; a group ends with its last target. Raises NotFound."""
    with config.changing_file():
        known = load_groups()
        for group in groups:
            if target not in known.get(group, ()):
                raise NotFound("target", target, hint=f"there is none in group {group!r}")
            known[group].remove(target)
        _save(known)


def forget(target: str) -> None:
    """Take a target out of all groups."""
    with config.changing_file():
        known = load_groups()
        if of(target, known):
            _save({name: [each for each in known[name] if each != target] for name in known})


def _save(groups: dict[str, list[str]]) -> None:
    config.save_table("groups", {name: members for name, members in groups.items() if members})


def of(target: str, groups: dict[str, list[str]]) -> list[str]:
    """The groups that a target is in."""
    return [name for name, members in groups.items() if target in members]


def several(text: str) -> bool:
    """Whether a text names targets in a way that could be several."""
    if text.startswith(("unix:", "ssh://", "adb:")) and "," not in text:
        return False
    return "," in text or text.startswith(GROUP)


def expand(text: str) -> list[str]:
    """The targets that a text names, each once, in its order; they need not exist.

    Raises InvalidArgument for an empty name, NotFound for a group that is not there.
    """
    names: dict[str, None] = {}
    for part in text.split(","):
        part = part.strip()
        if not part:
            raise InvalidArgument("target", f"{text!r} has an empty name in it")
        members = _members(part.removeprefix(GROUP)) if part.startswith(GROUP) else [part]
        names.update(dict.fromkeys(members))
    return list(names)


def single(text: str) -> str:
    """The one target that a text names; raises as `expand`, InvalidArgument for several."""
    names = expand(text)
    if len(names) > 1:
        raise InvalidArgument(
            "target",
            f"{text!r} names {len(names)} targets ({', '.join(names)}), and this is for one",
        )
    return names[0]


def _members(group: str) -> list[str]:
    known = load_groups()
    if members := known.get(group):
        return members
    import difflib

    near = [GROUP + name for name in difflib.get_close_matches(group, known, 3)]
    raise NotFound(
        "group", group, near, "`bpfctl target add NAME --group GROUP` puts a target into one"
    )
