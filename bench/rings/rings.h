/* The memory that a host and a simulated controller share: one queue pair. */
#include <stdint.h>
#include <stdatomic.h>
#include <time.h>

enum { QUEUE_ENTRIES = 1024, SQ_BYTES = QUEUE_ENTRIES * 64, CQ_BYTES = QUEUE_ENTRIES * 16, PAGE = 4096 };

struct sqe {
	uint32_t dw[16];
};

struct cqe {
	uint32_t dw0, dw1;
	uint16_t sq_head, sq_id, cid, status; /* phase: bit 0 of status */
};

struct shared {
	struct sqe sq[QUEUE_ENTRIES];
	struct cqe cq[QUEUE_ENTRIES];
	/* A page of its own for each side's writes: doorbells, and what the device says of itself. */
	_Alignas(PAGE) volatile uint32_t doorbells[4]; /* 2: SQ 1's tail, 3: CQ 1's head */
	_Alignas(PAGE) volatile uint32_t ready;
	_Alignas(PAGE) volatile uint32_t quit;
};

_Static_assert(sizeof(struct sqe) == 64 && sizeof(struct cqe) == 16, "as the specification has them");

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Where the controller is in the rings; its phase starts at 1. */
struct controller {
	uint32_t sq_head, cq_tail, phase;
};

/* Completes the oldest command. Returns 0 where the completion queue is full. */
static inline int complete_next(struct shared *mem, struct controller *controller)
{
	/* One entry stays empty. */
	if ((controller->cq_tail + 1) % QUEUE_ENTRIES == mem->doorbells[3])
		return 0;
	struct cqe *c = &mem->cq[controller->cq_tail];
	uint16_t cid = (uint16_t)(mem->sq[controller->sq_head].dw[0] >> 16);

	controller->sq_head = (controller->sq_head + 1) % QUEUE_ENTRIES;
	c->dw0 = 0;
	c->dw1 = 0;
	c->sq_head = (uint16_t)controller->sq_head;
	c->sq_id = 1;
	c->cid = cid;
	atomic_thread_fence(memory_order_release);
	*(volatile uint16_t *)&c->status = (uint16_t)controller->phase;
	if (++controller->cq_tail == QUEUE_ENTRIES) {
		controller->cq_tail = 0;
		controller->phase ^= 1;
	}
	return 1;
}
