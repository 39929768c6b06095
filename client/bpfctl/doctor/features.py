# SPDX-License-Identifier: Apache-2.0
"""Program types, map types, hooks and tracing: what was probed, and what would bring it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from bpfctl.doctor.check import Check
from bpfctl.doctor.facts import Facts
from bpfctl.doctor.options import instead_of, options_of
from bpfd.v1 import target_pb2

PROGRAMS, MAPS, BATCHES, TRACING, HOOKS = (
    "program types",
    "map types",
    "map batches",
    "tracing",
    "hooks",
)
GROUPS = (PROGRAMS, MAPS, BATCHES, TRACING, HOOKS)
"""Groups with a line for each feature, behind one that counts them."""

IN_ALL = "in all"

_TRACING = re.compile(
    r"kprobe|uprobe|tp_btf|fentry|fexit|LSM|iterator|perf|hardware counters|run statistics"
)
_ESSENTIAL = (PROGRAMS, MAPS)
_ELSEWHERE = ("kernel BTF", "memory accounting by cgroup")
"""Features that have checks of their own."""


def group_of(feature: str) -> str:
    """The group of a feature, by its name."""
    if feature.startswith(("program ", "instructions ")):
        return PROGRAMS
    if feature.startswith("map batch "):
        return BATCHES
    if feature.startswith("map "):
        return MAPS
    return TRACING if _TRACING.match(feature) else HOOKS


def checks(facts: Facts) -> Iterator[Check]:
    """Each feature by group, behind a line that counts them."""
    built_in = _built_in(facts)
    for group in GROUPS:
        found = [
            feature
            for feature in facts.info.features
            if group_of(feature.name) == group and feature.name not in _ELSEWHERE
        ]
        if not found:
            continue
        working = sum(feature.supported for feature in found)
        essential = group in _ESSENTIAL
        yield Check(
            group,
            IN_ALL,
            "ok" if working else "missing",
            f"{working} of {len(found)} work",
            "" if working else "a kernel with CONFIG_BPF_SYSCALL=y, and a daemon run as root",
            essential,
        )
        for feature in found:
            yield _feature(facts, group, feature, built_in)
        if group == TRACING:
            yield from _disarmed(facts)


def _feature(
    facts: Facts, group: str, feature: target_pb2.Feature, built_in: Collection[str]
) -> Check:
    name = feature.name.removeprefix("program ").removeprefix("map batch ")
    name = name.removeprefix("map ")
    if feature.supported:
        return Check(group, name, "ok", feature.probe)
    reason = feature.probe
    young = feature.since and _version(feature.since) > _version(facts.info.kernel_release)
    if young:
        reason += (
            f"; kernels have it since {feature.since}, this is {facts.info.kernel_release}"
        )
    if instead := instead_of(feature.name, facts.has):
        reason += f"; {instead}"
    return Check(group, name, "missing", reason, _remedy(facts, feature, bool(young), built_in))


def _built_in(facts: Facts) -> set[str]:
    """Options that are set: by the configuration, or because what they bring works."""
    found = set(facts.options)
    for feature in facts.info.features:
        if feature.supported:
            found.update(options_of(feature.name))
    return found


def _remedy(
    facts: Facts, feature: target_pb2.Feature, young: bool, built_in: Collection[str]
) -> str:
    wanted = options_of(feature.name, feature.needs)
    since = f"Linux {feature.since} or newer" if young else ""
    lacking = ", ".join(f"{option}=y" for option in wanted if option not in built_in)
    if lacking:
        here = " (not set here)" if facts.options else ""
        return f"{since}, built with {lacking}" if since else f"a kernel with {lacking}{here}"
    if since:
        return since
    if "EPERM" in feature.probe:
        return (
            "its options are set: a policy of the kernel refuses it (lockdown, LSM, seccomp, "
            "the capabilities above)"
        )
    modules = [option for option in wanted if facts.options.get(option) == "m"]
    if modules:
        return f"load the module of {', '.join(modules)}"
    words = re.sub(r"(, and )?CONFIG_\w+( and | in )?", "", feature.needs).strip(" ;,")
    return words or "its options are set: perhaps this architecture has none of it"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _disarmed(facts: Facts) -> Iterator[Check]:
    if facts.files.get("/sys/kernel/debug/kprobes/enabled") == "0":
        yield Check(
            TRACING,
            "kprobes",
            "warning",
            "all kprobes of the kernel are switched off: attached ones never run",
            "echo 1 > /sys/kernel/debug/kprobes/enabled",
        )
