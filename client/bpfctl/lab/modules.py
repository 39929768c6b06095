# SPDX-License-Identifier: Apache-2.0
"""Kernel modules: what each needs, and the tables that modprobe reads.

What `depmod` would compute is taken from the modules' own `.modinfo`, for those modules that
a board gets. "softdeps" become needs: busybox's modprobe does not know them.
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from .errors import LabError

SUFFIXES = (".ko", ".ko.xz")


@dataclass
class Module:
    """One module of a kernel."""

    path: str
    """Below lib/modules/RELEASE: "kernel/net/tls/tls.ko"."""
    data: bytes
    needs: list[str] = field(default_factory=list)
    """Modules that must be there before it, by the name they have in files."""
    soft: list[str] = field(default_factory=list)
    """Modules or aliases that should be there before it."""
    aliases: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return name_of(self.path)


def name_of(path: str) -> str:
    """ "kernel/net/ipv4/tcp-bbr.ko.xz" is the module "tcp_bbr"."""
    return path.rpartition("/")[2].split(".ko")[0].replace("-", "_")


def modinfo(elf: bytes) -> Iterator[tuple[str, str]]:
    """The entries of a module's `.modinfo`, such as ("depends", "bridge,llc")."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        section = ELFFile(BytesIO(elf)).get_section_by_name(".modinfo")
    except ELFError as error:
        raise LabError(f"a kernel module is no ELF file: {error}") from None
    for entry in section.data().split(b"\0") if section else ():
        key, equals, value = entry.partition(b"=")
        if equals:
            yield key.decode(), value.decode(errors="replace")


def parse(path: str, elf: bytes) -> Module:
    """The module of an uncompressed file."""
    module = Module(path, elf)
    for key, value in modinfo(elf):
        if key == "depends":
            module.needs += [name_of(name) for name in value.split(",") if name]
        elif key == "softdep":
            module.soft += _before(value)
        elif key == "alias":
            module.aliases.append(value)
    return module


def _before(softdep: str) -> list[str]:
    """Of "pre: a b post: c" what comes before: a and b."""
    before, wanted = [], False
    for word in softdep.split():
        if word in ("pre:", "post:"):
            wanted = word == "pre:"
        elif wanted:
            before.append(word)
    return before


@dataclass
class Closure:
    """Modules with all that they need, each before those that need it."""

    modules: dict[str, Module] = field(default_factory=dict)
    """By name."""

    def needs(self, name: str) -> list[str]:
        """Everything that must be loaded before a module, in that order."""
        found: dict[str, None] = {}

        def add(each: str) -> None:
            for needed in self.modules[each].needs:
                # The kernel has no circles, but a softdep may close one.
                if needed not in found and needed != name:
                    found[needed] = None
                    add(needed)
                    found[needed] = found.pop(needed)

        add(name)
        return list(found)

    def dep_table(self) -> bytes:
        """`modules.dep`: a module, then what it needs, what is to be loaded first last."""
        lines = []
        for module in self._by_path():
            needs = [self.modules[name].path for name in reversed(self.needs(module.name))]
            lines.append(f"{module.path}:" + "".join(f" {path}" for path in needs))
        return "".join(f"{line}\n" for line in lines).encode()

    def alias_table(self) -> bytes:
        """`modules.alias`: the names by which the kernel asks for modules."""
        lines = [
            f"alias {alias} {module.name}\n"
            for module in self._by_path()
            for alias in module.aliases
            # Of devices there are thousands, and the board's are loaded at boot.
            if not alias.startswith(("pci:", "of:", "acpi", "dmi:", "usb:", "platform:"))
        ]
        return "".join(lines).encode()

    def load_order(self, names: Iterable[str]) -> list[Module]:
        """What to load, in order, so that modules of these names are in."""
        order: dict[str, None] = {}
        for name in names:
            if name in self.modules:
                order |= dict.fromkeys([*self.needs(name), name])
        return [self.modules[name] for name in order]

    def compress(self, names: Iterable[str]) -> None:
        """Keep these packed: modprobe unpacks what it loads.

        Modules of RISC-V shrink to a seventh, others to a third.
        """
        for name in set(names) & set(self.modules):
            module = self.modules[name]
            if not module.path.endswith(".gz"):
                module.data = gzip.compress(module.data, 9, mtime=0)
                module.path += ".gz"

    def _by_path(self) -> list[Module]:
        return sorted(self.modules.values(), key=lambda module: module.path)


def closure(folder: Path, names: Iterable[str]) -> Closure:
    """These modules of lib/modules/RELEASE and what they need.

    Names that the kernel has no module for are left out: it may have them built in.
    """
    files = {
        name_of(path.name): path
        for path in sorted((folder / "kernel").rglob("*.ko*"))
        if path.name.endswith(SUFFIXES)
    }
    if not files:
        raise LabError(f"there are no kernel modules in {folder}")
    found: dict[str, Module] = {}
    todo = [name.replace("-", "_") for name in names]
    while todo:
        name = todo.pop(0)
        if name in found or name not in files:
            continue
        path = files[name]
        module = parse(
            str(path.relative_to(folder)).removesuffix(".xz"),
            lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes(),
        )
        found[name] = module
        todo += [*module.needs, *(soft.replace("-", "_") for soft in module.soft)]
    for module in found.values():
        module.needs = _resolved(module, found)
    return Closure(found)


def _resolved(module: Module, found: dict[str, Module]) -> list[str]:
    """What a module needs, softdeps included, as far as there are modules for it."""
    needs = dict.fromkeys(name for name in module.needs if name in found)
    for soft in module.soft:
        name = soft.replace("-", "_")
        provider = name if name in found else _provider(soft, found)
        if provider and provider != module.name:
            needs[provider] = None
    return list(needs)


def _provider(alias: str, found: dict[str, Module]) -> str | None:
    """The module that answers to an alias; the generic one where there are several."""
    names = sorted(module.name for module in found.values() if alias in module.aliases)
    generic = [name for name in names if name.endswith("_generic")]
    return next(iter([*generic, *names]), None)
