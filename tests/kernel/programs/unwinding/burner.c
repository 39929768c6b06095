/* SPDX-License-Identifier: Apache-2.0 */
/* Functions without frame pointers, below ones of libc that have none either.
 *
 * One frame is of a size known at run time only, one is entered by a signal.
 * `burner DEPTH` calls `deep` so often within itself, until it is killed. */
#include <alloca.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile long sink;

__attribute__((noinline)) void leaf(long times)
{
	for (long i = 0; i < times; i++)
		sink += i * i;
	syscall(SYS_getppid);
	sink++;
}

__attribute__((noinline)) void of_unknown_size(int bytes)
{
	char *room = alloca(bytes);

	memset(room, 1, bytes);
	leaf(100000);
	sink += room[bytes / 2];
}

__attribute__((noinline)) int compare(const void *one, const void *other)
{
	of_unknown_size(100 + (sink & 63));
	return *(const int *)one - *(const int *)other;
}

__attribute__((noinline)) void deep(int below)
{
	if (below) {
		deep(below - 1);
	} else {
		int values[] = { 4, 3, 2, 1 };

		qsort(values, 4, sizeof(values[0]), compare);
	}
	sink++;
}

__attribute__((noinline)) void handler(int number)
{
	deep(3);
	sink++;
}

int main(int count, char **words)
{
	int below = count > 1 ? atoi(words[1]) : 10;

	signal(SIGUSR1, handler);
	for (;;) {
		deep(below);
		raise(SIGUSR1);
	}
}
