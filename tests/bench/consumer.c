/* SPDX-License-Identifier: Apache-2.0 */
/* Takes 40-byte records from a ring buffer through libbpf, as fast as it can. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

struct event {
	uint64_t number, address;
	uint32_t pid, size;
	uint64_t from, to;
};

static volatile sig_atomic_t ended;
static uint64_t count, sum, sizes;

static void end(int number)
{
	ended = 1;
}

static int take(void *context, void *data, size_t size)
{
	const struct event *event = data;

	count++;
	sum += event->number;
	sizes += event->size;
	return 0;
}

int main(int argc, char **argv)
{
	int fd = bpf_map_get_fd_by_id(strtoul(argv[1], NULL, 10));
	struct ring_buffer *ring = ring_buffer__new(fd, take, NULL, NULL);
	struct timespec now = {};
	uint64_t before;

	if (!ring) {
		perror("ring_buffer__new");
		return 1;
	}
	signal(SIGTERM, end);
	puts("ready");
	fflush(stdout);
	for (;;) {
		before = count;
		if (ring_buffer__consume(ring) < 0)
			return 1;
		if (count != before && ended)
			clock_gettime(CLOCK_MONOTONIC, &now);
		if (count == before && ended)
			break;
	}
	if (!now.tv_sec)
		clock_gettime(CLOCK_MONOTONIC, &now);
	printf("{\"received\": %llu, \"sum\": %llu, \"sizes\": %llu, \"end\": %lld.%09ld}\n",
	       (unsigned long long)count, (unsigned long long)sum,
	       (unsigned long long)sizes, (long long)now.tv_sec, now.tv_nsec);
	return 0;
}
