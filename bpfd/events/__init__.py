# SPDX-License-Identifier: Apache-2.0
"""Event streams: one reader for each ring, shared by its subscribers."""
