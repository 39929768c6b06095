/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads of a 32-bit kernel's memory.
 *
 * BPF is a 64-bit machine, and so to clang a pointer, `long` and `unsigned long`
 * have 8 bytes. In the memory of a 32-bit kernel, and of its processes, they have
 * 4: whoever reads 8 gets the neighbour in the upper half. A source that was
 * written on a 64-bit machine does so everywhere.
 *
 * bpfctl includes this file before every source that it compiles for a 32-bit
 * target. A read of 8 bytes from the address of a pointer, of a long or of a
 * 32-bit integer (what the long of the kernel is in the target's vmlinux.h) reads
 * 4, and the value is extended: signed ones by their sign. Everything else is
 * left as it is: other sizes, arrays, structs, strings, untyped addresses.
 *
 * Only macros are defined here, and nothing is included, so that it can stand
 * before anything else. A function-like macro leaves the declarations of the
 * helpers in bpf_helper_defs.h alone.
 */
#ifndef BPFD_TARGET32_READS_H
#define BPFD_TARGET32_READS_H

/* For sources that step through arrays of pointers: these have 4 bytes each. */
#define BPFD_TARGET_32BIT 1

/* Something of the type that ADDRESS points to; char where that is not known. */
#define BPFD_POINTEE(address)                      \
	(*_Generic((address),                      \
		 void *: (char *)0,                \
		 const void *: (char *)0,          \
		 volatile void *: (char *)0,       \
		 const volatile void *: (char *)0, \
		 int: (char *)0,                   \
		 unsigned int: (char *)0,          \
		 long: (char *)0,                  \
		 unsigned long: (char *)0,         \
		 long long: (char *)0,             \
		 unsigned long long: (char *)0,    \
		 default: (address)))

/* 5 is pointer_type_class of GCC's typeclass.h. */
#define BPFD_IS_POINTER(address) \
	(__builtin_classify_type(BPFD_POINTEE(address)) == 5)

#define BPFD_IS_LONG(address) \
	_Generic(BPFD_POINTEE(address), long: 1, unsigned long: 1, default: 0)

#define BPFD_IS_INT(address) \
	_Generic(BPFD_POINTEE(address), int: 1, unsigned int: 1, default: 0)

#define BPFD_IS_SIGNED(address) \
	_Generic(BPFD_POINTEE(address), int: 1, long: 1, default: 0)

/* Two elements of an array of integers are 8 bytes that were meant. */
#define BPFD_IS_ARRAY(address)                          \
	(!__builtin_types_compatible_p(typeof(address), \
				       typeof(&BPFD_POINTEE(address))))

#define BPFD_IS_WORD(address)                                 \
	(BPFD_IS_POINTER(address) || BPFD_IS_LONG(address) || \
	 (BPFD_IS_INT(address) && !BPFD_IS_ARRAY(address)))

/*
 * READ(to, bytes, from) of SIZE bytes at FROM into TO; ADDRESS is FROM with its
 * type. The compiler knows which branch it is, and leaves the other one out.
 */
#define BPFD_READ(READ, to, size, address, from)                              \
	({                                                                    \
		long bpfd_read_result;                                        \
		if (BPFD_IS_WORD(address) && __builtin_constant_p(size) &&    \
		    (size) == 8) {                                            \
			unsigned int bpfd_read_word = 0;                      \
			unsigned long bpfd_read_value;                        \
			bpfd_read_result = READ(&bpfd_read_word, 4, from);    \
			bpfd_read_value = BPFD_IS_SIGNED(address)             \
						  ? (long)(int)bpfd_read_word \
						  : bpfd_read_word;           \
			__builtin_memcpy((to), &bpfd_read_value, 8);          \
		} else {                                                      \
			bpfd_read_result = READ((to), (size), from);          \
		}                                                             \
		bpfd_read_result;                                             \
	})

/* A name in parentheses is the helper itself. */
#define bpf_probe_read(to, size, from) \
	BPFD_READ((bpf_probe_read), to, size, from, from)
#define bpf_probe_read_kernel(to, size, from) \
	BPFD_READ((bpf_probe_read_kernel), to, size, from, from)
#define bpf_probe_read_user(to, size, from) \
	BPFD_READ((bpf_probe_read_user), to, size, from, from)

/* The kernel hands its pointer out as a long, and so with a sign. */
#define bpf_get_current_task() \
	((unsigned long)(unsigned int)(bpf_get_current_task)())

/* Whether a parameter, declared as "TYPE NAME", is a long with a sign. */
#define BPFD_IS_SIGNED_LONG(parameter) \
	_Generic((void (*)(parameter))0, void (*)(long): 1, default: 0)

/* The value of a 32-bit register or of a 64-bit slot as a program's argument. */
#define BPFD_ARGUMENT(parameter, value)                                       \
	(void *)(BPFD_IS_SIGNED_LONG(parameter) ? (unsigned long)(int)(value) \
						: (unsigned long)(value))

#endif
