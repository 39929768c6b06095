/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * libbpf's header of this name, for 32-bit targets: a parameter that is a long
 * gets its sign from the 32 bits that the kernel has of it (reads.h).
 */
#include_next <bpf/bpf_tracing.h>

#ifndef BPFD_TARGET32_TRACING_H
#define BPFD_TARGET32_TRACING_H

#if defined(bpf_target_arm)
/* uregs[15] of struct pt_regs (arch/arm/include/uapi/asm/ptrace.h); libbpf takes 12, "ip",
 * which is a scratch register. */
#undef __PT_IP_REG
#define __PT_IP_REG uregs[15]
#endif

#undef ___bpf_ctx_cast1
#define ___bpf_ctx_cast1(a) ctx, BPFD_ARGUMENT(a, ctx[0])
#undef ___bpf_ctx_cast2
#define ___bpf_ctx_cast2(a, b) ___bpf_ctx_cast1(a), BPFD_ARGUMENT(b, ctx[1])
#undef ___bpf_ctx_cast3
#define ___bpf_ctx_cast3(a, b, c) \
	___bpf_ctx_cast2(a, b), BPFD_ARGUMENT(c, ctx[2])
#undef ___bpf_ctx_cast4
#define ___bpf_ctx_cast4(a, b, c, d) \
	___bpf_ctx_cast3(a, b, c), BPFD_ARGUMENT(d, ctx[3])
#undef ___bpf_ctx_cast5
#define ___bpf_ctx_cast5(a, b, c, d, e) \
	___bpf_ctx_cast4(a, b, c, d), BPFD_ARGUMENT(e, ctx[4])
#undef ___bpf_ctx_cast6
#define ___bpf_ctx_cast6(a, b, c, d, e, f) \
	___bpf_ctx_cast5(a, b, c, d, e), BPFD_ARGUMENT(f, ctx[5])
#undef ___bpf_ctx_cast7
#define ___bpf_ctx_cast7(a, b, c, d, e, f, g) \
	___bpf_ctx_cast6(a, b, c, d, e, f), BPFD_ARGUMENT(g, ctx[6])
#undef ___bpf_ctx_cast8
#define ___bpf_ctx_cast8(a, b, c, d, e, f, g, h) \
	___bpf_ctx_cast7(a, b, c, d, e, f, g), BPFD_ARGUMENT(h, ctx[7])
#undef ___bpf_ctx_cast9
#define ___bpf_ctx_cast9(a, b, c, d, e, f, g, h, i) \
	___bpf_ctx_cast8(a, b, c, d, e, f, g, h), BPFD_ARGUMENT(i, ctx[8])
#undef ___bpf_ctx_cast10
#define ___bpf_ctx_cast10(a, b, c, d, e, f, g, h, i, j) \
	___bpf_ctx_cast9(a, b, c, d, e, f, g, h, i), BPFD_ARGUMENT(j, ctx[9])
#undef ___bpf_ctx_cast11
#define ___bpf_ctx_cast11(a, b, c, d, e, f, g, h, i, j, k) \
	___bpf_ctx_cast10(a, b, c, d, e, f, g, h, i, j),   \
		BPFD_ARGUMENT(k, ctx[10])
#undef ___bpf_ctx_cast12
#define ___bpf_ctx_cast12(a, b, c, d, e, f, g, h, i, j, k, l) \
	___bpf_ctx_cast11(a, b, c, d, e, f, g, h, i, j, k),   \
		BPFD_ARGUMENT(l, ctx[11])

#undef ___bpf_kprobe_args1
#define ___bpf_kprobe_args1(a) ctx, BPFD_ARGUMENT(a, PT_REGS_PARM1(ctx))
#undef ___bpf_kprobe_args2
#define ___bpf_kprobe_args2(a, b) \
	___bpf_kprobe_args1(a), BPFD_ARGUMENT(b, PT_REGS_PARM2(ctx))
#undef ___bpf_kprobe_args3
#define ___bpf_kprobe_args3(a, b, c) \
	___bpf_kprobe_args2(a, b), BPFD_ARGUMENT(c, PT_REGS_PARM3(ctx))
#undef ___bpf_kprobe_args4
#define ___bpf_kprobe_args4(a, b, c, d) \
	___bpf_kprobe_args3(a, b, c), BPFD_ARGUMENT(d, PT_REGS_PARM4(ctx))
#undef ___bpf_kprobe_args5
#define ___bpf_kprobe_args5(a, b, c, d, e) \
	___bpf_kprobe_args4(a, b, c, d), BPFD_ARGUMENT(e, PT_REGS_PARM5(ctx))
#undef ___bpf_kprobe_args6
#define ___bpf_kprobe_args6(a, b, c, d, e, f) \
	___bpf_kprobe_args5(a, b, c, d, e), BPFD_ARGUMENT(f, PT_REGS_PARM6(ctx))
#undef ___bpf_kprobe_args7
#define ___bpf_kprobe_args7(a, b, c, d, e, f, g) \
	___bpf_kprobe_args6(a, b, c, d, e, f),   \
		BPFD_ARGUMENT(g, PT_REGS_PARM7(ctx))
#undef ___bpf_kprobe_args8
#define ___bpf_kprobe_args8(a, b, c, d, e, f, g, h) \
	___bpf_kprobe_args7(a, b, c, d, e, f, g),   \
		BPFD_ARGUMENT(h, PT_REGS_PARM8(ctx))

#undef ___bpf_kretprobe_args1
#define ___bpf_kretprobe_args1(a) ctx, BPFD_ARGUMENT(a, PT_REGS_RC(ctx))

#undef ___bpf_syscall_args1
#define ___bpf_syscall_args1(a) \
	ctx, BPFD_ARGUMENT(a, PT_REGS_PARM1_SYSCALL(regs))
#undef ___bpf_syscall_args2
#define ___bpf_syscall_args2(a, b) \
	___bpf_syscall_args1(a), BPFD_ARGUMENT(b, PT_REGS_PARM2_SYSCALL(regs))
#undef ___bpf_syscall_args3
#define ___bpf_syscall_args3(a, b, c) \
	___bpf_syscall_args2(a, b),   \
		BPFD_ARGUMENT(c, PT_REGS_PARM3_SYSCALL(regs))
#undef ___bpf_syscall_args4
#define ___bpf_syscall_args4(a, b, c, d) \
	___bpf_syscall_args3(a, b, c),   \
		BPFD_ARGUMENT(d, PT_REGS_PARM4_SYSCALL(regs))
#undef ___bpf_syscall_args5
#define ___bpf_syscall_args5(a, b, c, d, e) \
	___bpf_syscall_args4(a, b, c, d),   \
		BPFD_ARGUMENT(e, PT_REGS_PARM5_SYSCALL(regs))
#undef ___bpf_syscall_args6
#define ___bpf_syscall_args6(a, b, c, d, e, f) \
	___bpf_syscall_args5(a, b, c, d, e),   \
		BPFD_ARGUMENT(f, PT_REGS_PARM6_SYSCALL(regs))
#undef ___bpf_syscall_args7
#define ___bpf_syscall_args7(a, b, c, d, e, f, g) \
	___bpf_syscall_args6(a, b, c, d, e, f),   \
		BPFD_ARGUMENT(g, PT_REGS_PARM7_SYSCALL(regs))

#undef ___bpf_syswrap_args1
#define ___bpf_syswrap_args1(a) \
	ctx, BPFD_ARGUMENT(a, PT_REGS_PARM1_CORE_SYSCALL(regs))
#undef ___bpf_syswrap_args2
#define ___bpf_syswrap_args2(a, b) \
	___bpf_syswrap_args1(a),   \
		BPFD_ARGUMENT(b, PT_REGS_PARM2_CORE_SYSCALL(regs))
#undef ___bpf_syswrap_args3
#define ___bpf_syswrap_args3(a, b, c) \
	___bpf_syswrap_args2(a, b),   \
		BPFD_ARGUMENT(c, PT_REGS_PARM3_CORE_SYSCALL(regs))
#undef ___bpf_syswrap_args4
#define ___bpf_syswrap_args4(a, b, c, d) \
	___bpf_syswrap_args3(a, b, c),   \
		BPFD_ARGUMENT(d, PT_REGS_PARM4_CORE_SYSCALL(regs))
#undef ___bpf_syswrap_args5
#define ___bpf_syswrap_args5(a, b, c, d, e) \
	___bpf_syswrap_args4(a, b, c, d),   \
		BPFD_ARGUMENT(e, PT_REGS_PARM5_CORE_SYSCALL(regs))
#undef ___bpf_syswrap_args6
#define ___bpf_syswrap_args6(a, b, c, d, e, f) \
	___bpf_syswrap_args5(a, b, c, d, e),   \
		BPFD_ARGUMENT(f, PT_REGS_PARM6_CORE_SYSCALL(regs))
#undef ___bpf_syswrap_args7
#define ___bpf_syswrap_args7(a, b, c, d, e, f, g) \
	___bpf_syswrap_args6(a, b, c, d, e, f),   \
		BPFD_ARGUMENT(g, PT_REGS_PARM7_CORE_SYSCALL(regs))

#endif
