# SPDX-License-Identifier: Apache-2.0
"""The messages of pprof's files, by the public description of the format.

Names, numbers and types are those of https://github.com/google/pprof/blob/main/proto/README.md
and the profile.proto it describes (proto3, package perftools.profiles).
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_INT64 = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
_UINT64 = descriptor_pb2.FieldDescriptorProto.TYPE_UINT64
_BOOL = descriptor_pb2.FieldDescriptorProto.TYPE_BOOL
_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
_PACKAGE = "perftools.profiles"

_Type = int | str
_FIELDS: dict[str, list[tuple[int, str, _Type, bool]]] = {
    # number, name, type or message, repeated. int64 fields beside numbers are mostly indices
    # of string_table, the first of which is "".
    "Profile": [
        (1, "sample_type", "ValueType", True),
        (2, "sample", "Sample", True),
        (3, "mapping", "Mapping", True),
        (4, "location", "Location", True),
        (5, "function", "Function", True),
        (6, "string_table", _STRING, True),
        (7, "drop_frames", _INT64, False),
        (8, "keep_frames", _INT64, False),
        (9, "time_nanos", _INT64, False),
        (10, "duration_nanos", _INT64, False),
        (11, "period_type", "ValueType", False),
        (12, "period", _INT64, False),
        (13, "comment", _INT64, True),
        (14, "default_sample_type", _INT64, False),
    ],
    "ValueType": [(1, "type", _INT64, False), (2, "unit", _INT64, False)],
    "Sample": [
        (1, "location_id", _UINT64, True),
        (2, "value", _INT64, True),
        (3, "label", "Label", True),
    ],
    "Label": [
        (1, "key", _INT64, False),
        (2, "str", _INT64, False),
        (3, "num", _INT64, False),
        (4, "num_unit", _INT64, False),
    ],
    "Mapping": [
        (1, "id", _UINT64, False),
        (2, "memory_start", _UINT64, False),
        (3, "memory_limit", _UINT64, False),
        (4, "file_offset", _UINT64, False),
        (5, "filename", _INT64, False),
        (6, "build_id", _INT64, False),
        (7, "has_functions", _BOOL, False),
        (8, "has_filenames", _BOOL, False),
        (9, "has_line_numbers", _BOOL, False),
        (10, "has_inline_frames", _BOOL, False),
    ],
    "Location": [
        (1, "id", _UINT64, False),
        (2, "mapping_id", _UINT64, False),
        (3, "address", _UINT64, False),
        (4, "line", "Line", True),
        (5, "is_folded", _BOOL, False),
    ],
    "Line": [(1, "function_id", _UINT64, False), (2, "line", _INT64, False)],
    "Function": [
        (1, "id", _UINT64, False),
        (2, "name", _INT64, False),
        (3, "system_name", _INT64, False),
        (4, "filename", _INT64, False),
        (5, "start_line", _INT64, False),
    ],
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="bpfctl/pprof_profile.proto", package=_PACKAGE, syntax="proto3"
    )
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for number, name, kind, repeated in fields:
            entry = described.field.add(name=name, number=number)
            entry.label = entry.LABEL_REPEATED if repeated else entry.LABEL_OPTIONAL
            if isinstance(kind, str):
                entry.type, entry.type_name = _MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                entry.type = kind  # type: ignore[assignment]
    return file


_pool = descriptor_pool.DescriptorPool()
"""Of its own: other packages may have brought the same names into the common one."""
_pool.Add(_file())

Profile: Any = message_factory.GetMessageClass(
    _pool.FindMessageTypeByName(f"{_PACKAGE}.Profile")
)
