/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * glibc's headers of user space (<errno.h>, <stdint.h>) ask for this file where
 * the compiler does not say that it is for x86-64, as it does not for BPF; it is
 * in a package for 32-bit programs. It lists functions that the C library lacks:
 * none are called here.
 */
