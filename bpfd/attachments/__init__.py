# SPDX-License-Identifier: Apache-2.0
"""Every place where the kernel runs a program, whoever put it there.

`snapshot` asks each kind of place (`network`, `cgroups`, `events`, `maps`); what a link says
of itself is matched to the place where it was found (`links`).
"""
