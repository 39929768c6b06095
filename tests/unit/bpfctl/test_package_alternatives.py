# SPDX-License-Identifier: Apache-2.0
"""Alternatives of a package: how they are read, and which one is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl.btf.kinds import Kind
from bpfctl.package import Package, PackageError, load_package, packages
from bpfctl.package.alternatives import NoneFits, choose, defines, left_out, needs
from bpfctl.preflight.core import CorePath
from bpfctl.preflight.declared import need

from bpfd import features

HEAD = """
name = "sample"
description = "One sentence."
version = "1.2.3"
license = "GPL-2.0-only"
source = "sample.bpf.c"
"""

CLOSE = """
[[alternatives]]
name = "close"
description = "when a file is closed"

[[alternatives.choices]]
name = "fentry"
needs = ["fentry", "struct file.f_path"]
programs = ["by_fentry", "both"]

[[alternatives.choices]]
name = "kprobe"
needs = ["kprobe"]
programs = ["by_kprobe", "both"]
defines = ["BY_KPROBE", "SLOW=1"]
"""


def package(tmp_path: Path, text: str) -> Package:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "sample.bpf.c").write_text("")
    (folder / "package.toml").write_text(HEAD + text)
    return load_package(folder)


def test_first_that_is_met_is_taken(tmp_path: Path) -> None:
    known = package(tmp_path, CLOSE).alternatives
    assert needs(known, {}) == ["fentry", "struct file.f_path", "kprobe"]
    everything = dict.fromkeys(needs(known, {}), True)
    (best,) = choose(known, everything, {})
    assert (best.choice.name, best.is_first, best.lacking) == ("fentry", True, ())
    assert left_out([best]) == ["by_kprobe"]
    assert defines([best]) == []
    (second,) = choose(known, {**everything, "struct file.f_path": False}, {})
    assert (second.choice.name, second.is_first) == ("kprobe", False)
    assert second.lacking == ("struct file.f_path",)
    assert left_out([second]) == ["by_fentry"]
    assert defines([second]) == ["BY_KPROBE", "SLOW=1"]


def test_what_was_asked_for_is_taken_unseen(tmp_path: Path) -> None:
    known = package(tmp_path, CLOSE).alternatives
    asked = {"close": "kprobe"}
    assert needs(known, asked) == []
    (found,) = choose(known, {}, asked)
    assert (found.choice.name, found.lacking) == ("kprobe", ())
    with pytest.raises(PackageError, match="no alternatives 'clos'; did you mean close"):
        choose(known, {}, {"clos": "kprobe"})
    with pytest.raises(PackageError, match="no choice 'kprob': it is one of fentry, kprobe"):
        choose(known, {}, {"close": "kprob"})


def test_none_fits(tmp_path: Path) -> None:
    known = package(tmp_path, CLOSE).alternatives
    with pytest.raises(NoneFits, match="fentry needs struct file"):
        choose(known, {"fentry": True}, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CLOSE.replace('[[alternatives.choices]]\nname = "kprobe"', "[unused]"), "two or more"),
        (CLOSE.replace('"kprobe"\n', '"fentry"\n'), "'fentry' is there twice"),
        (CLOSE + CLOSE, "'close' is there twice"),
        (CLOSE.replace("needs", "need"), r"alternatives\[close\].choices\[fentry\].need is an"),
        (CLOSE.replace('"SLOW=1"', '"-DSLOW"'), "'-DSLOW' is not of the form"),
        (CLOSE.replace('["kprobe"]', '"kprobe"'), "needs is not a list"),
        (CLOSE.replace('["kprobe"]', '[""]'), "needs '' is not of the form"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(PackageError, match=words):
        package(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "ask"),
    [
        ("tcx link", ("feature", "tcx link")),
        ("map ringbuf", ("feature", "map ringbuf")),
        ("function tcp_close", ("function", "tcp_close")),
        ("syscall openat2", ("syscall", "openat2")),
        ("tracepoint sock/inet_sock_set_state", ("tracepoint", "sock/inet_sock_set_state")),
        ("kfunc bpf_task_from_pid", ("btf", ("bpf_task_from_pid", Kind.FUNC))),
        ("struct file.f_path", ("core", CorePath(Kind.STRUCT, "file", ("f_path",)))),
        ("enum bpf_map_type", ("core", CorePath(Kind.ENUM, "bpf_map_type"))),
        ("enum t.ONE", ("core", CorePath(Kind.ENUM, "t", (), "ONE"))),
    ],
)
def test_needs_in_words(text: str, ask: tuple[str, object]) -> None:
    found = need(text)
    assert (found.ask, found.name) == (ask, text)


def test_packages_of_the_repository_ask_for_what_there_is() -> None:
    texts = [
        text
        for folder in packages()
        for item in load_package(folder).alternatives
        for choice in item.choices
        for text in choice.needs
    ]
    assert "map ringbuf" in texts
    for text in texts:
        ask = need(text).ask
        assert ask is not None
        assert ask[0] != "feature" or ask[1] in features.PROBES
