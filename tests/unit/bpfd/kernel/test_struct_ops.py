# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

from bpfd.kernel import struct_ops


def test_functions_that_a_value_names() -> None:
    value = struct.pack("=II56x", 1, 1) + struct.pack("@LLL", 31, 0, 33)
    word = struct.calcsize("@L")
    places = [("ssthresh", 64), ("release", 64 + word), ("undo_cwnd", 64 + 2 * word)]
    assert struct_ops.functions_of(value, places) == [("ssthresh", 31), ("undo_cwnd", 33)]
    assert struct_ops.functions_of(value, []) == []
