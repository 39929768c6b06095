# SPDX-License-Identifier: Apache-2.0
"""Names of Android devices."""

from __future__ import annotations

from pathlib import Path

from bpfd.kernel.android import android_name


def lay(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_no_android(tmp_path: Path) -> None:
    assert android_name(str(tmp_path)) == ""
    lay(tmp_path, "vendor/build.prop", "ro.product.vendor.model=board\n")
    assert android_name(str(tmp_path)) == ""


def test_product_names_it_before_vendor_and_system(tmp_path: Path) -> None:
    lay(
        tmp_path,
        "system/build.prop",
        "# begin build properties\n#ro.build.version.release=9\nro.build.version.release=14\n"
        "ro.product.system.model=mainline\nro.product.system.manufacturer=Android\n",
    )
    assert android_name(str(tmp_path)) == "Android 14 (Android mainline)"
    lay(tmp_path, "vendor/build.prop", "ro.product.vendor.model=Pixel 7\n")
    assert android_name(str(tmp_path)) == "Android 14 (Android Pixel 7)"
    lay(tmp_path, "product/etc/build.prop", "ro.product.product.manufacturer=Google\n")
    assert android_name(str(tmp_path)) == "Android 14 (Google Pixel 7)"


def test_old_devices_have_one_file(tmp_path: Path) -> None:
    text = (
        "ro.build.version.release=7.1.2\nro.product.model=Board X\nro.product.manufacturer=\n"
    )
    lay(tmp_path, "system/build.prop", text)
    assert android_name(str(tmp_path)) == "Android 7.1.2 (Board X)"


def test_file_without_anything(tmp_path: Path) -> None:
    lay(tmp_path, "system/build.prop", "\xff\n=\nnonsense\n")
    assert android_name(str(tmp_path)) == "Android"
