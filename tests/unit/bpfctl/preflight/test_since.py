# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from importlib import resources

from bpfctl.preflight import since


def test_helpers_by_number() -> None:
    assert since.helper_name(131) == "ringbuf_reserve"
    # As BPF_FUNC_... of include/uapi/linux/bpf.h, and as the daemon's features say.
    assert (since.helper_since(131), since.helper_since(160)) == ("5.8", "5.11")
    assert (since.helper_name(4711), since.helper_since(4711)) == ("", "")


def test_helpers_never_go_back() -> None:
    text = resources.files("bpfctl.preflight").joinpath("since.json").read_text()
    helpers = json.loads(text)["helpers"]
    assert list(helpers) == [str(number) for number in range(1, len(helpers) + 1)]
    releases = [tuple(map(int, release.split("."))) for _, release in helpers.values()]
    assert releases == sorted(releases)


def test_flags_of_maps() -> None:
    assert since.map_flag_names(1 << 10 | 1) == ["BPF_F_NO_PREALLOC", "BPF_F_MMAPABLE"]
    assert since.map_flag_names(1 << 31) == ["0x80000000"]
    assert since.map_flags_since(1 << 13 | 1) == "6.2 to 6.12"
    assert since.map_flags_since(1 << 10) == "5.10 or older"
    assert since.map_flags_since(1 << 31) == ""


def test_attach_types() -> None:
    # BPF_CGROUP_UNIX_CONNECT came with 6.7, between two of the files.
    assert since.attach_type_since(49) == "6.2 to 6.12"
    assert since.attach_type_since(0) == "5.10 or older"
    assert since.attach_type_since(4711) == ""
