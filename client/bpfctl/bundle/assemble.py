# SPDX-License-Identifier: Apache-2.0
"""Puts the files of a bundle together, each with where it is from."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bpfctl.debian import Package
from bpfctl.debian.libraries import closure, needs
from bpfctl.progress import Progress

from . import launcher
from .errors import BundleError
from .manifest import Component, manifest
from .pack import Content
from .python import Module, Place, Python, compile_modules
from .resolve import Daemon, Inputs
from .wheels import WheelFile, distribution

_COMMON_LICENSE = re.compile(rb"/usr/share/common-licenses/(L?GPL-[0-9.]*[0-9])")
_LICENSE_FILE = re.compile(r"(LICEN[CS]E|COPYING|NOTICE)[^/]*", re.IGNORECASE)


@dataclass
class _Bundle:
    """A bundle that grows."""

    inputs: Inputs
    contents: dict[str, Content] = field(default_factory=dict)
    packages: set[Package] = field(default_factory=set)
    """Debian's packages of which something is in it."""
    texts: dict[bytes, str] = field(default_factory=dict)
    """Names of licences by their texts: many components have the same."""

    def add_from_tree(self, name: str, file: Path, executable: bool = False) -> None:
        self.contents[name] = Content(file, executable)
        self.belongs(file)

    def add_license(self, name: str, text: Path) -> str:
        """Gives the name under which the text is in the bundle."""
        data = text.read_bytes()
        own = self.texts.setdefault(data, f"licenses/{name}")
        self.contents[own] = Content(data)
        return own

    def belongs(self, file: Path) -> None:
        path = str(file.resolve().relative_to(self.inputs.tree))
        self.packages.add(self.inputs.owners[path])


def assemble(
    inputs: Inputs, native: Python, work: Path, progress: Progress
) -> dict[str, Content]:
    """All files of the bundle by their names in it; `work` is an empty folder for files.

    Raises BundleError.
    """
    bundle = _Bundle(inputs)
    site = work / "site"
    for each in inputs.wheels:
        with zipfile.ZipFile(each.path) as wheel:
            wheel.extractall(site)
    progress("modules", 0, 0)
    modules = _modules(inputs, native, site, work)
    _add_programs(bundle)
    _add_modules(bundle, modules)
    _add_libraries(bundle, [module.file for module in modules if module.is_native])
    components = [*_debian(bundle), *_wheels(bundle, site), _daemon(bundle, inputs.daemon)]
    bundle.contents["manifest.json"] = Content(
        manifest(
            version=inputs.daemon.version,
            arch=inputs.architecture.name,
            python=inputs.recipe.python,
            components=components,
            files={name: content.read() for name, content in bundle.contents.items()},
        )
    )
    return bundle.contents


def _modules(inputs: Inputs, native: Python, site: Path, work: Path) -> list[Module]:
    library = inputs.tree / "usr" / "lib" / f"python{inputs.recipe.python}"
    # Alone in a folder: where it is installed, this machine's own gRPC stands beside it.
    own = work / "daemon" / inputs.daemon.folder.name
    own.parent.mkdir()
    own.symlink_to(inputs.daemon.folder)
    places = [
        Place("bpfd", own.parent),
        Place("wheels", site),
        Place("debian", inputs.tree / "usr" / "lib" / "python3" / "dist-packages"),
        Place("python", library, later=False, extensions=library / "lib-dynload"),
    ]
    return compile_modules(
        native, places, [("bpfd", own.name)], inputs.recipe, work / "compiled"
    )


def _add_programs(bundle: _Bundle) -> None:
    version = bundle.inputs.recipe.python
    bundle.contents["bpfd"] = Content(launcher.daemon(version), executable=True)
    bundle.contents["bin/python3"] = Content(launcher.python(version), executable=True)
    program = bundle.inputs.tree / "usr" / "bin" / f"python{version}"
    bundle.add_from_tree(f"bin/python{version}", program, executable=True)


def _add_modules(bundle: _Bundle, modules: list[Module]) -> None:
    folder = f"lib/python{bundle.inputs.recipe.python}"
    for module in modules:
        bundle.contents[f"{folder}/{module.path}"] = Content(module.file)
        if module.place in ("debian", "python"):
            bundle.belongs(module.source)


def _add_libraries(bundle: _Bundle, extensions: list[Path]) -> None:
    """The loader and the libraries of the program, of the extension modules and by name."""
    inputs = bundle.inputs
    program = inputs.tree / "usr" / "bin" / f"python{inputs.recipe.python}"
    asked = needs(program)
    if asked is None or not asked.interpreter:
        raise BundleError(f"{program} is not a program of {inputs.architecture.name}")
    folder = inputs.tree / "usr" / "lib" / inputs.triplet
    opened = {name: (folder / name).resolve() for name in inputs.recipe.libraries}
    found = closure([program, *extensions, *opened.values()], inputs.tree, inputs.triplet)
    loader = found.pop(Path(asked.interpreter).name)
    bundle.add_from_tree(launcher.LOADER, loader, executable=True)
    for name, file in sorted({**found, **opened}.items()):
        bundle.add_from_tree(f"lib/{name}", file)


def _debian(bundle: _Bundle) -> Iterator[Component]:
    for package in sorted(bundle.packages):
        text = bundle.inputs.tree / "usr" / "share" / "doc" / package.name / "copyright"
        own = bundle.add_license(f"{text.resolve().parent.name}/copyright", text)
        common = [
            _common(bundle, name.decode())
            for name in _COMMON_LICENSE.findall(text.read_bytes())
        ]
        names = tuple(sorted({own, *common}))
        yield Component(package.name, package.version, package.file, package.sha256, names)


def _common(bundle: _Bundle, name: str) -> str:
    folder = bundle.inputs.texts / "usr" / "share" / "common-licenses"
    return bundle.add_license(name, folder / name)


def _wheels(bundle: _Bundle, site: Path) -> Iterator[Component]:
    for each in bundle.inputs.wheels:
        names = tuple(_wheel_licenses(bundle, each, site))
        wheel = each.wheel
        yield Component(wheel.name, wheel.version, each.path.name, each.sha256, names)


def _wheel_licenses(bundle: _Bundle, each: WheelFile, site: Path) -> Iterator[str]:
    folder = site / f"{distribution(each.wheel.name)}-{each.wheel.version}.dist-info"
    for file in sorted(folder.rglob("*")):
        if file.is_file() and _LICENSE_FILE.fullmatch(file.name):
            yield bundle.add_license(f"{each.wheel.name}/{file.name}", file)


def _daemon(bundle: _Bundle, daemon: Daemon) -> Component:
    names = [bundle.add_license(f"bpfd/{file.name}", file) for file in daemon.licenses]
    return Component("bpfd", daemon.version, "", daemon.sha256, tuple(names))
