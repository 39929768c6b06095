# SPDX-License-Identifier: Apache-2.0
"""Packets that people have: as hexadecimal text, in captures, as expressions; and what is
different between two of them. Nothing here needs a target."""
