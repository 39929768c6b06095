# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain: ü, 你好 and `code`", "plain: ü, 你好 and `code`"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\tapart", "two\\nlines\\tapart"),
        ("right\u202eleft", "right\\u202eleft"),
        ("\x9b31m and \udcff", "\\x9b31m and \\udcff"),
        ("", ""),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_some_may_stay() -> None:
    assert printable("a\tb\n\rc", keep="\n\t") == "a\tb\n\\rc"
