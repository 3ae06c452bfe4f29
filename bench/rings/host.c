/*
 * Runs the same loop in C, as a general library would: 16 dwords per command, a function and its context per slot.
 * Arguments: memory file, queue depth, milliseconds. Prints commands completed and nanoseconds. With a fourth argument
 * it is its own controller, in turns on one thread, and the nanoseconds are those of the host's part alone.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "rings.h"

struct queue_pair;
typedef void (*completion_fn)(struct queue_pair *qp, void *context, const struct cqe *cqe);

struct request {
	completion_fn done;
	void *context;
};

struct queue_pair {
	struct shared *mem;
	uint32_t sq_tail, cq_head, phase, free_count;
	uint16_t free[QUEUE_ENTRIES];
	struct request requests[QUEUE_ENTRIES];
};

struct worker {
	uint64_t done, lba;
};

static void submit(struct queue_pair *qp, const struct sqe *entry, completion_fn done, void *context)
{
	uint16_t cid = qp->free[--qp->free_count];
	struct sqe *slot = &qp->mem->sq[qp->sq_tail];

	qp->requests[cid] = (struct request){ done, context };
	*slot = *entry;
	slot->dw[0] |= (uint32_t)cid << 16;
	qp->sq_tail = (qp->sq_tail + 1) % QUEUE_ENTRIES;
}

static void ring(struct queue_pair *qp)
{
	atomic_thread_fence(memory_order_release);
	qp->mem->doorbells[2] = qp->sq_tail;
}

static uint32_t reap(struct queue_pair *qp)
{
	uint32_t count = 0;

	for (;;) {
		struct cqe *c = &qp->mem->cq[qp->cq_head];
		uint16_t status = *(volatile uint16_t *)&c->status;

		if ((status & 1) != qp->phase)
			break;
		atomic_thread_fence(memory_order_acquire);
		struct request *request = &qp->requests[c->cid];

		qp->free[qp->free_count++] = c->cid;
		if (++qp->cq_head == QUEUE_ENTRIES) {
			qp->cq_head = 0;
			qp->phase ^= 1;
		}
		count++;
		request->done(qp, request->context, c);
	}
	if (count > 0)
		qp->mem->doorbells[3] = qp->cq_head;
	return count;
}

static void read_next(struct queue_pair *qp, struct worker *worker, completion_fn done)
{
	struct sqe entry;

	memset(&entry, 0, sizeof(entry));
	entry.dw[0] = 2;
	entry.dw[1] = 1;
	entry.dw[6] = 0x10000000u + (uint32_t)(worker->lba & 0xff) * 4096;
	entry.dw[7] = 1;
	entry.dw[10] = (uint32_t)worker->lba;
	entry.dw[11] = (uint32_t)(worker->lba >> 32);
	entry.dw[12] = 7;
	worker->lba += 8;
	submit(qp, &entry, done, worker);
}

static void done(struct queue_pair *qp, void *context, const struct cqe *cqe)
{
	struct worker *worker = context;

	if (cqe->status >> 1)
		abort();
	worker->done++;
	read_next(qp, worker, done);
}

static void start(struct queue_pair *qp, struct worker *worker, uint32_t depth)
{
	for (uint32_t i = 0; i < depth; i++)
		read_next(qp, worker, done);
	ring(qp);
}

/* Returns the nanoseconds that passed. */
static uint64_t run(struct queue_pair *qp, uint64_t limit)
{
	const uint64_t begin = now_ns();
	uint64_t end = begin;

	for (uint32_t turns = 0;; turns++) {
		if (reap(qp) > 0)
			ring(qp);
		if (turns % 1024 == 0 && (end = now_ns()) - begin > limit)
			return end - begin;
	}
}

/* Returns the nanoseconds that the host's part took. */
static uint64_t run_inline(struct queue_pair *qp, uint64_t limit)
{
	struct controller controller = { 0, 0, 1 };
	uint64_t spent = 0;

	while (spent < limit) {
		while (controller.sq_head != qp->mem->doorbells[2])
			complete_next(qp->mem, &controller);
		const uint64_t begin = now_ns();
		reap(qp);
		ring(qp);
		spent += now_ns() - begin;
	}
	return spent;
}

int main(int argc, char **argv)
{
	if (argc != 4 && argc != 5) {
		fprintf(stderr, "usage: host MEMORY DEPTH MILLISECONDS [inline]\n");
		return 2;
	}
	static struct queue_pair qp;
	struct worker worker = { 0, 0 };
	int fd = open(argv[1], O_RDWR);
	const uint32_t depth = (uint32_t)strtoul(argv[2], NULL, 10);
	const uint64_t limit = strtoull(argv[3], NULL, 10) * 1000000u;

	qp.mem = mmap(NULL, sizeof(*qp.mem), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || qp.mem == MAP_FAILED) {
		perror(argv[1]);
		return 1;
	}
	qp.phase = 1;
	for (uint32_t i = 0; i < depth; i++)
		qp.free[qp.free_count++] = (uint16_t)i;
	while (argc == 4 && !qp.mem->ready)
		;
	start(&qp, &worker, depth);
	const uint64_t spent = argc == 5 ? run_inline(&qp, limit) : run(&qp, limit);
	printf("%llu %llu\n", (unsigned long long)worker.done, (unsigned long long)spent);
	return 0;
}
