/* The memory that a host and a simulated controller share: one queue pair. */
#include <stdint.h>
#include <stdatomic.h>

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
