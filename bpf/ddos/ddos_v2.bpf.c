/* SPDX-License-Identifier: GPL-2.0-only */
#include "filter.h"

char LICENSE[] SEC("license") = "GPL";

/* As the first version, and drops amplified answers. */
SEC("xdp.frags")
int ddos(struct xdp_md *ctx)
{
	return filter(ctx, V2);
}
