# SPDX-License-Identifier: Apache-2.0
"""What a diagnosis is made of: what the daemon says of a target, and files of its kernel."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bpfd.v1 import files_pb2, target_pb2

KERNEL = "/proc/sys/kernel/"
NET = "/proc/sys/net/core/"

FILES = (
    *(f"{KERNEL}{name}" for name in (
        "unprivileged_bpf_disabled", "bpf_stats_enabled", "perf_event_paranoid",
        "perf_event_max_sample_rate", "kptr_restrict", "ftrace_enabled",
    )),
    *(f"{NET}{name}" for name in (
        "bpf_jit_enable", "bpf_jit_harden", "bpf_jit_kallsyms", "bpf_jit_limit",
    )),
    "/proc/meminfo", "/proc/uptime", "/proc/filesystems",
    "/sys/kernel/debug/kprobes/enabled",
)  # fmt: skip
"""Files that are read of every target; those of the daemon's process come in addition."""


@dataclass(frozen=True)
class Interface:
    """A network interface of the daemon's network namespace."""

    name: str
    driver: str
    """Driver of its device; empty: it has no device, or the driver is not known."""
    kind: str = ""
    """What it is where it has no device: loopback, tun, veth, bridge, bond, ...; empty: not
    known."""


@dataclass(frozen=True)
class Facts:
    """Of one target, at one time."""

    target: str
    info: target_pb2.TargetInfo
    """With features."""
    client_version: str
    now: float
    """Seconds since 1970, of the workstation."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Content of the files that could be read, without white space at its end."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Why others could not, where they exist."""
    config: str = ""
    """The kernel's configuration; empty: it could not be read."""
    config_from: str = ""
    """File that it stands in."""
    interfaces: tuple[Interface, ...] = ()
    storage: files_pb2.StorageResponse | None = None
    """None: a daemon that does not say."""
    btf_kept: str = ""
    """BTF of this kernel that the workstation keeps; empty: none."""

    def number(self, path: str) -> int | None:
        """The number in a file; None: it was not read, or has none."""
        found = re.match(r"-?\d+", self.files.get(path, ""))
        return int(found[0]) if found else None

    def process(self, name: str) -> str:
        """A file of the daemon's process, as in "limits"; empty: it was not read."""
        return self.files.get(f"/proc/{self.info.daemon_pid}/{name}", "")

    @functools.cached_property
    def options(self) -> dict[str, str]:
        """Options of the kernel's configuration that are set: "CONFIG_BPF" to "y" or "m"."""
        pairs = re.findall(r"^(CONFIG_\w+)=(.*)$", self.config, re.MULTILINE)
        return dict(pairs)

    @functools.cached_property
    def features(self) -> dict[str, target_pb2.Feature]:
        """By name."""
        return {feature.name: feature for feature in self.info.features}

    def has(self, feature: str) -> bool:
        """Whether a feature was found to work."""
        found = self.features.get(feature)
        return found is not None and found.supported

    def mount(self, kind: str) -> target_pb2.Mount | None:
        """A mount of this type, one that can be written first."""
        found = [mount for mount in self.info.mounts if mount.type == kind]
        return next(iter(sorted(found, key=lambda mount: mount.read_only)), None)

    def as_json(self) -> dict[str, Any]:
        """As `from_json` takes it."""
        from google.protobuf import json_format

        values = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("info", "storage", "interfaces")
        }
        return {
            **values,
            "info": json_format.MessageToDict(self.info),
            "storage": json_format.MessageToDict(self.storage) if self.storage else None,
            "interfaces": [[item.name, item.driver, item.kind] for item in self.interfaces],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Facts:
        """Facts that were kept."""
        from google.protobuf import json_format

        storage = values["storage"]
        return cls(
            **{
                **values,
                "info": json_format.ParseDict(values["info"], target_pb2.TargetInfo()),
                "storage": json_format.ParseDict(storage, files_pb2.StorageResponse())
                if storage is not None
                else None,
                "interfaces": tuple(Interface(*item) for item in values["interfaces"]),
            }
        )
