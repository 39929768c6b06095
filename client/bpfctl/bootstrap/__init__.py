# SPDX-License-Identifier: Apache-2.0
"""A daemon on targets where nothing is installed: put there, started, replaced, removed.

`up`, `down`, `upgrade` and `purge` work over any `Shell`, which ssh and adb have. A home is
the one folder on the target that holds everything: see docs/design/009-targets.md.
"""

from bpfctl.bootstrap.down import Down, Purged, down, purge
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.up import Up, Wanted, up
from bpfctl.bootstrap.upgrade import Upgraded, upgrade

__all__ = [
    "BootstrapFailed",
    "Down",
    "Purged",
    "Up",
    "Upgraded",
    "Wanted",
    "down",
    "purge",
    "up",
    "upgrade",
]
