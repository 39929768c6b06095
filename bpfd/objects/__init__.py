# SPDX-License-Identifier: Apache-2.0
"""Objects and links: loading, attaching, replacing, pinning, adopting."""
