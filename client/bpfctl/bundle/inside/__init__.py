# SPDX-License-Identifier: Apache-2.0
"""What runs inside the bundle's own version of Python: it finds and compiles the modules,
and packs the result.

That Python may read another syntax than the one that runs `bpfctl`, and with its libraries
the same inputs give the same bytes on every machine. This package imports nothing of the
project.
"""
