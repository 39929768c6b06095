# SPDX-License-Identifier: Apache-2.0
"""What an Android device is called, by the files that its properties are made of.

Android has no os-release. The files and the order in which they name the product are those of
init's property service (system/core/init/property_service.cpp).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

_FILES = (
    "product/etc/build.prop",
    "product/build.prop",
    "odm/etc/build.prop",
    "odm/build.prop",
    "vendor/build.prop",
    "system_ext/etc/build.prop",
    "system/build.prop",
)
_PARTITIONS = ("", "product.", "odm.", "vendor.", "system_ext.", "system.")
_RELEASE = "ro.build.version.release"
_MAX_BYTES = 1 << 20


def android_name(root: str = "/") -> str:
    """Such as "Android 14 (Google Pixel 7)"; empty: this is no Android."""
    if not os.path.isfile(os.path.join(root, "system/build.prop")):
        return ""
    found: dict[str, str] = {}
    for name in _FILES:
        for key, value in _properties(os.path.join(root, name)):
            found.setdefault(key, value)
    product = [_product(found, "manufacturer"), _product(found, "model")]
    name = " ".join(word for word in product if word)
    system = f"Android {found.get(_RELEASE, '')}".strip()
    return f"{system} ({name})" if name else system


def _properties(path: str) -> Iterator[tuple[str, str]]:
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_BYTES).decode(errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        key, sign, value = line.strip().partition("=")
        if sign and value and not key.startswith("#"):
            yield key, value


def _product(found: dict[str, str], what: str) -> str:
    keys = (f"ro.product.{partition}{what}" for partition in _PARTITIONS)
    return next((found[key] for key in keys if key in found), "")
