# SPDX-License-Identifier: Apache-2.0
"""Maps: reading, writing, dumping, watching, listing, pinning."""
