/* SPDX-License-Identifier: GPL-2.0-only */
#include "filter.h"

char LICENSE[] SEC("license") = "GPL";

/* Drops by source, by destination port and by shape. */
SEC("xdp.frags")
int ddos(struct xdp_md *ctx)
{
	return filter(ctx, V1);
}
