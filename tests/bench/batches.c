/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a map with raw BPF_MAP_LOOKUP_BATCH system calls; prints seconds and entries. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <bpf/bpf.h>

#define ENTRIES 32768

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	int fd = bpf_map_get_fd_by_id(strtoul(argv[1], NULL, 10)), failed;
	size_t key = strtoul(argv[2], NULL, 10),
	       value = strtoul(argv[3], NULL, 10);
	void *keys = malloc(ENTRIES * key), *values = malloc(ENTRIES * value);
	uint64_t places[2], total = 0;
	void *place = NULL;
	double start = now();

	do {
		uint32_t count = ENTRIES;

		failed = bpf_map_lookup_batch(fd, place, &places[0], keys,
					      values, &count, NULL);
		if (failed && errno != ENOENT) {
			perror("bpf_map_lookup_batch");
			return 1;
		}
		total += count;
		places[1] = places[0];
		place = &places[1];
	} while (!failed);
	printf("{\"seconds\": %.6f, \"entries\": %llu}\n", now() - start,
	       (unsigned long long)total);
	return 0;
}
