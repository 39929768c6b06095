# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import gzip

import pytest
from bpfctl.errors import InvalidArgument
from bpfctl.profiles import labels, pprof, pprof_reading
from bpfctl.profiles.model import Frame, Profile, Sample
from bpfctl.profiles.pprof_messages import Profile as Message
from hypothesis import given

from tests.unit.bpfctl.profiles import made


def shown(frame: Frame) -> Frame:
    """As it comes back: with the name that is shown, and the kernel's by its module."""
    return dataclasses.replace(frame, name=labels.text(frame.text), offset=0)


def test_all_of_a_profile_comes_back() -> None:
    small = made.small()
    read = pprof_reading.read(pprof.write(small))
    for sample in small.samples:
        stack = tuple(map(shown, sample.stack))
        assert dataclasses.replace(sample, stack=stack) in read.samples
    assert dataclasses.replace(read, samples=[]) == dataclasses.replace(small, samples=[])


def test_what_stands_in_the_file() -> None:
    message = Message.FromString(gzip.decompress(pprof.write(made.small())))
    text = list(message.string_table)
    assert text[0] == ""
    types = [(text[each.type], text[each.unit]) for each in message.sample_type]
    assert types == [("samples", "count"), ("cpu", "nanoseconds")]
    assert text[message.default_sample_type] == "cpu"
    first = message.sample[0]
    assert list(first.value) == [50, 50 * 10_101_010]
    inner = message.location[first.location_id[0] - 1]
    functions = [text[message.function[line.function_id - 1].name] for line in inner.line]
    assert functions == ["skip_space", "parse(char const*)"]
    mapping = message.mapping[0]
    assert text[mapping.filename] == "/usr/bin/app"
    assert text[mapping.build_id] == "0123456789abcdef"
    assert (mapping.memory_start, mapping.memory_limit) == (0x401000, 0x403000)
    assert mapping.has_functions
    assert mapping.has_inline_frames
    assert [text[each] for each in message.comment] == [
        "title: CPU samples, 99 Hz of app",
        "target: board",
        "missed: 3 stacks found no room",
    ]
    assert message.duration_nanos == 2_500_000_000
    assert message.time_nanos == 1_772_366_400_250_000_000


def test_the_same_profile_gives_the_same_bytes() -> None:
    assert pprof.write(made.small()) == pprof.write(made.small())


def test_frames_of_one_address_are_one_location() -> None:
    again = [dataclasses.replace(frame) for frame in (made.MAIN, made.PARSE)]
    profile = Profile([Sample((made.MAIN, made.PARSE), 1), Sample(tuple(again), 2)])
    message = Message.FromString(gzip.decompress(pprof.write(profile)))
    assert len(message.location) == 2
    assert len(message.sample) == 2


@given(made.PROFILES)
def test_what_is_read_is_what_was_written(profile: Profile) -> None:
    read = pprof_reading.read(pprof.write(profile))
    assert read.unit == profile.unit
    assert read.total == profile.total
    names = [[labels.text(frame.text) for frame in each.stack] for each in read.samples]
    expected = [
        [labels.text(frame.text) for frame in each.stack]
        for each in sorted(profile.samples, key=lambda sample: -sample.value)
    ]
    assert names == expected
    # What came through once comes through unchanged.
    assert pprof_reading.read(pprof.write(read)) == read


@pytest.mark.parametrize("depth", [127, 1000])
def test_deep_stacks(depth: int) -> None:
    stack = tuple(Frame(f"f{n}", "/bin/a", address=n) for n in range(depth))
    read = pprof_reading.read(pprof.write(Profile([Sample(stack, 2)])))
    assert read.samples == [Sample(stack, 2)]


def test_a_file_of_others_is_read_by_its_default_type() -> None:
    message = Message(string_table=["", "alloc", "bytes", "inuse", "f"], default_sample_type=3)
    message.sample_type.add(type=1, unit=2)
    message.sample_type.add(type=3, unit=2)
    message.function.add(id=9, name=4)
    message.location.add(id=5).line.add(function_id=9, line=3)
    message.location.add(id=6, address=0x10)
    message.sample.add(location_id=[5, 6], value=[100, 40])
    read = pprof_reading.read(message.SerializeToString())
    assert (read.unit, read.total) == ("bytes", 40)
    assert read.samples[0].stack == (Frame("", address=0x10), Frame("f", line=3))


def broken(change: str) -> bytes:
    message = Message.FromString(gzip.decompress(pprof.write(made.small())))
    if change == "location":
        message.sample[0].location_id[0] = 999
    elif change == "function":
        message.location[0].line[0].function_id = 999
    elif change == "mapping":
        message.location[0].mapping_id = 999
    elif change == "string":
        message.function[0].name = 999
    elif change == "negative":
        message.function[0].name = -2
    elif change == "values":
        del message.sample[0].value[:]
    elif change == "strings":
        del message.string_table[:]
    return bytes(message.SerializeToString())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no profile at all",
        pprof.write(made.small())[:100],
        *map(
            broken,
            ("location", "function", "mapping", "string", "negative", "values", "strings"),
        ),
    ],
)
def test_files_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        pprof_reading.read(data)
