# SPDX-License-Identifier: Apache-2.0
"""Reads a request as JSON on standard input, compiles modules, answers on standard output.

Request: {"places": [{"name", "folder", "later", "extensions"}], "packages": [[place, name]],
"also": [...], "never": [...], "output": folder}. Answer: {"modules": [{"name", "place",
"source", "file", "path"}], "missing": [[module, what it imports]]}; "source" is the file that
was found, "file" the .pyc of it or the extension module itself, "path" its place in the
bundle.
"""

from __future__ import annotations

import _imp
import json
import sys
from pathlib import Path
from typing import Any

from .closure import Finder, Module, Place, modules_below
from .compile import write


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Does what a request says."""
    places = [
        Place(
            each["name"],
            Path(each["folder"]),
            each["later"],
            Path(each["extensions"]) if each["extensions"] else None,
        )
        for each in request["places"]
    ]
    finder = Finder(places, sys.builtin_module_names, request["never"])
    folders = {place.name: place.folder for place in places}
    wanted = list(request["also"])
    for place, package in request["packages"]:
        wanted += modules_below(folders[place], package)
    unknown = [("recipe", name) for name in wanted if not finder.add(name)]
    output = Path(request["output"])
    found = [
        module for name, module in sorted(finder.closure.found.items()) if not _is_frozen(name)
    ]
    modules = [_put(module, output) for module in found]
    return {"modules": modules, "missing": sorted(finder.closure.missing) + unknown}


def _is_frozen(name: str) -> bool:
    """Whether the interpreter has the module in itself, and reads no file for it.

    By the file of `os` it knows its own folder, as by a landmark.
    """
    if name in ("importlib._bootstrap", "importlib._bootstrap_external"):
        return True
    return name != "os" and name in _imp._frozen_module_names()  # type: ignore[attr-defined]


def _put(module: Module, output: Path) -> dict[str, str]:
    path = module.name.replace(".", "/")
    file = module.file
    if module.is_source:
        path += "/__init__.py" if module.is_package else ".py"
        file = output / (path + "c")
        write(module.file, path, file)
        path += "c"
    elif "." in module.name:
        path = path.rpartition("/")[0] + "/" + file.name
    else:
        path = f"lib-dynload/{file.name}"
    return {
        "name": module.name,
        "place": module.place,
        "source": str(module.file),
        "file": str(file),
        "path": path,
    }


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
