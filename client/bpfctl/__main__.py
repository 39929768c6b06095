# SPDX-License-Identifier: Apache-2.0
"""`python -m bpfctl`."""

from bpfctl.cli import main

if __name__ == "__main__":
    main()
