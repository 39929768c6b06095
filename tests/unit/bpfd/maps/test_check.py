# SPDX-License-Identifier: Apache-2.0
"""Whether keys and values fit, without a map."""

from __future__ import annotations

import errno
import struct

import pytest

from bpfd.errors import InvalidArgument, KernelError, LimitExceeded, NotFound, NotSupported
from bpfd.kernel.constants import ENOTSUPP, MapType
from bpfd.kernel.map_io import Shape
from bpfd.maps.check import OpenMap


def make(
    kind: MapType = MapType.HASH, key: int = 4, value: int = 8, stride: int = 0
) -> OpenMap:
    return OpenMap(-1, 7, "flows", kind.name.lower(), Shape(kind, key, value, 10), stride)


def test_keys_are_counted() -> None:
    assert make().key_count("keys", bytes(12)) == 3
    for keys in (b"", bytes(5)):
        with pytest.raises(InvalidArgument, match="4 bytes each"):
            make().key_count("keys", keys)
    with pytest.raises(LimitExceeded, match="entries of one batch"):
        make().key_count("keys", bytes(4 * (1 << 20) + 4))
    with pytest.raises(LimitExceeded, match="bytes of one batch"):
        make(key=1 << 20).key_count("keys", bytes(33 << 20))
    with pytest.raises(InvalidArgument, match="no keys"):
        make(MapType.QUEUE, key=0).key_count("keys", b"x")
    with pytest.raises(NotSupported):
        make(MapType.RINGBUF).key_count("keys", bytes(4))


def test_values_are_as_many_as_keys() -> None:
    make().check_values("values", bytes(16), 2)
    with pytest.raises(InvalidArgument, match="8 bytes each"):
        make().check_values("values", bytes(15), 2)
    with pytest.raises(InvalidArgument, match="CPUs of 8"):
        make(stride=8).check_values("values", bytes(15), 2)
    with pytest.raises(LimitExceeded):
        make(value=33 << 20).check_values("values", bytes(33 << 20), 1)


def test_keys_that_can_never_be_there() -> None:
    make(MapType.ARRAY).check_new_keys("keys", struct.pack("=2I", 0, 9))
    with pytest.raises(
        InvalidArgument, match="index 10 is beyond the last one of map flows, 9"
    ):
        make(MapType.ARRAY).check_new_keys("keys", struct.pack("=2I", 0, 10))
    trie = make(MapType.LPM_TRIE, key=8)
    trie.check_new_keys("keys", struct.pack("=II", 32, 0))
    with pytest.raises(InvalidArgument, match="a prefix of 33 bits"):
        trie.check_new_keys("keys", struct.pack("=IIII", 32, 0, 33, 0))


def test_answers_have_a_bound() -> None:
    make().check_answer(1 << 20)
    with pytest.raises(LimitExceeded, match="bytes of one answer"):
        make(value=1 << 20).check_answer(33)
    with pytest.raises(LimitExceeded, match="entries of one batch"):
        make().check_answer((1 << 20) + 1)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.E2BIG, LimitExceeded),
        (errno.ENOSPC, LimitExceeded),
        (errno.EEXIST, InvalidArgument),
        (errno.ENOENT, NotFound),
        (errno.EINVAL, InvalidArgument),
        (ENOTSUPP, NotSupported),
        (errno.EOPNOTSUPP, NotSupported),
        (errno.ENOMEM, KernelError),
    ],
)
def test_errors_of_the_kernel(number: int, kind: type[Exception]) -> None:
    error = make().error("an update", number, 3, b"\1\2\3\4")
    assert isinstance(error, kind)
    assert "flows" in str(error)
    if isinstance(error, LimitExceeded):
        assert (error.limit, error.done) == (10, 3)
    if isinstance(error, InvalidArgument | NotFound):
        assert "01020304" in str(error)
        assert "3 entries before it" in str(error)
