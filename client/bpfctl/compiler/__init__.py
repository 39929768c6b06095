# SPDX-License-Identifier: Apache-2.0
"""What `bpfctl.build` is made of: finding clang, the cache, dropping DWARF."""
