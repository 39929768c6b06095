# SPDX-License-Identifier: Apache-2.0
"""Values by function, of all at "", as files of profiles have them.

For profiles in which no function stands twice in a stack.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter

from bpfctl.profiles.pprof_messages import Profile


def of_pprof(data: bytes) -> Counter[str]:
    """Of a compressed file."""
    message = Profile.FromString(gzip.decompress(data))
    names = {each.id: message.string_table[each.name] for each in message.function}
    lines = {each.id: each.line for each in message.location}
    found: Counter[str] = Counter()
    for sample in message.sample:
        found[""] += sample.value[0]
        for location in sample.location_id:
            for line in lines[location]:
                found[names[line.function_id]] += sample.value[0]
    return found


def of_folded(text: str) -> Counter[str]:
    """Of folded stacks."""
    found: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, value = line.rpartition(" ")
        for part in ["", *stack.split(";")]:
            found[part.removesuffix("_[i]")] += int(value)
    return found


def of_html(text: str) -> Counter[str]:
    """Of what the page draws."""
    (data,) = re.findall(r'id="profile">(.*?)</script>', text)
    profile = json.loads(data)
    found: Counter[str] = Counter()
    for depth, function, value, *_ in profile["nodes"]:
        found[profile["functions"][function][0] if depth else ""] += value
    return found
