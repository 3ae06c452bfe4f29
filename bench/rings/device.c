/*
 * A controller that does nothing but complete: takes what is in the submission queue, at most RATE per second (0: as
 * fast as it can) and each LATENCY nanoseconds after it came, and writes completions. Arguments: memory file, RATE,
 * LATENCY.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include "rings.h"

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

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
	uint32_t head = 0, seen = 0, tail = 0, phase = 1, cq_tail = 0;
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
		if (head == tail)
			continue;
		uint64_t t = paced ? now_ns() : 0;
		while (head != tail && (!paced || due[head] <= t)) {
			/* Full: one entry stays empty. */
			if ((cq_tail + 1) % QUEUE_ENTRIES == mem->doorbells[3])
				break;
			struct cqe *c = &mem->cq[cq_tail];
			uint16_t cid = (uint16_t)(mem->sq[head].dw[0] >> 16);

			head = (head + 1) % QUEUE_ENTRIES;
			c->dw0 = 0;
			c->dw1 = 0;
			c->sq_head = (uint16_t)head;
			c->sq_id = 1;
			c->cid = cid;
			atomic_thread_fence(memory_order_release);
			*(volatile uint16_t *)&c->status = (uint16_t)phase;
			if (++cq_tail == QUEUE_ENTRIES) {
				cq_tail = 0;
				phase ^= 1;
			}
		}
	}
	return 0;
}
