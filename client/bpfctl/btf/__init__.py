# SPDX-License-Identifier: Apache-2.0
"""BTF: types, and the values that they describe.

`Btf.parse(data)` reads the types of an object, a map or a kernel; `Codec(btf, type_id)`
turns bytes into values and typed text into bytes; `bpfctl.btf.array` does it in bulk with
numpy, which is imported when the first array is made.
"""

from bpfctl.btf.btf import Btf, GlobalVariable
from bpfctl.btf.codec import Codec
from bpfctl.btf.errors import BtfError, BtfValueError
from bpfctl.btf.kinds import Kind

__all__ = ["Btf", "BtfError", "BtfValueError", "Codec", "GlobalVariable", "Kind"]
