# SPDX-License-Identifier: Apache-2.0
"""`python -m bpfctl.unwind FILE TABLE`: makes the table of a file; see `makers`."""

import sys
from pathlib import Path

from bpfctl.unwind.file_table import keep, table_of

if __name__ == "__main__":
    try:
        keep(table_of(Path(sys.argv[1])), Path(sys.argv[2]))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
