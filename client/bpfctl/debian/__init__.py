# SPDX-License-Identifier: Apache-2.0
"""Packages of Debian's archive for any suite and architecture, without installing them.

apt itself resolves, fetches and verifies them, in folders of the user's cache: no privileges
are needed and nothing of this machine's packages changes. The mirror is the one that this
machine's apt is set up with.
"""

from __future__ import annotations

from .archive import Archive, Package
from .errors import ArchiveError
from .tree import LIBRARY_FOLDERS, TRIPLETS

__all__ = ["LIBRARY_FOLDERS", "TRIPLETS", "Archive", "ArchiveError", "Package"]
