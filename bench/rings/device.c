/*
 * A controller that only completes: it takes entries of the submission queue, at most RATE per second (0: no limit) and
 * each LATENCY nanoseconds after it arrived, and writes completions. Arguments: memory file, RATE,
 * LATENCY.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "rings.h"

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: device MEMORY RATE LATENCY_NS\n");
		return 2;
	}
	int fd = open(argv[1], O_RDWR);
	struct shared *mem = mmap(NULL, sizeof(*mem), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || mem == MAP_FAILED) {
		perror(argv[1]);
		return 1;
	}
	const double rate = strtod(argv[2], NULL);
	const uint64_t latency = strtoull(argv[3], NULL, 10);
	const int paced = rate > 0 || latency > 0;
	const double gap = rate > 0 ? 1e9 / rate : 0;
	static uint64_t due[QUEUE_ENTRIES];
	struct controller controller = { 0, 0, 1 };
	uint32_t seen = 0, tail = 0;
	double next = 0;

	mem->ready = 1;
	while (!mem->quit) {
		uint32_t db = mem->doorbells[2];

		if (db != seen) {
			if (paced) {
				double t = (double)now_ns();
				while (seen != db) {
					if (next < t)
						next = t;
					due[seen] = (uint64_t)next + latency;
					next += gap;
					seen = (seen + 1) % QUEUE_ENTRIES;
				}
			}
			seen = tail = db;
		}
		if (controller.sq_head == tail)
			continue;
		uint64_t t = paced ? now_ns() : 0;
		while (controller.sq_head != tail && (!paced || due[controller.sq_head] <= t)) {
			if (!complete_next(mem, &controller))
				break;
		}
	}
	return 0;
}
