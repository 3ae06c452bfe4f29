/*
 * The loop of bench/igb/main.ts in C: sends frames through a ring of one 82576, receives them through a ring of the other. The
 * parent has started both devices, and set both rings up in memory that it shares.
 *
 *   igb LEFT RIGHT MEMORY IOVA SLOTS QUEUE FRAME_BYTES BATCH
 *
 * LEFT and RIGHT are VFIO devices, MEMORY is a file: descriptors. Each line of stdin is a number of frames to send; the answer is a
 * line with the nanoseconds they took.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define BAR_BYTES 0x20000
#define BUFFER_BYTES 2048
#define DESCRIPTOR_BYTES 16
#define RECEIVE_TAIL 0xc018
#define SEND_TAIL 0xe018
#define QUEUE_STRIDE 0x40
#define DONE 1u
#define END_OF_PACKET 2u
#define COMMAND 0x23300000u /* advanced data descriptor, CRC, end of packet */
#define REPORT 0x08000000u

struct descriptor {
	uint64_t address;
	uint32_t command; /* received: status */
	uint32_t status; /* received: length, VLAN tag */
};

struct ring {
	volatile struct descriptor *slots;
	uint8_t *buffers;
	uint64_t iova; /* of the buffers */
	volatile uint32_t *tail_register;
	uint32_t count, head, tail;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void *map(int fd, size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return memory;
}

static uint32_t used(const struct ring *ring)
{
	return (ring->tail + ring->count - ring->head) % ring->count;
}

static void advance(const struct ring *ring, uint32_t *position)
{
	*position = *position + 1 == ring->count ? 0 : *position + 1;
}

static void publish_tail(const struct ring *ring)
{
	atomic_thread_fence(memory_order_release);
	*ring->tail_register = ring->tail;
}

static void refill(struct ring *ring, uint32_t slots)
{
	while (slots-- > 0) {
		volatile struct descriptor *slot = &ring->slots[ring->tail];

		slot->address = ring->iova + (uint64_t)ring->tail * BUFFER_BYTES;
		slot->command = 0;
		slot->status = 0;
		advance(ring, &ring->tail);
	}
	publish_tail(ring);
}

static void send_batch(struct ring *ring, const uint8_t *frame, uint32_t bytes, uint32_t batch)
{
	for (uint32_t i = 0; i < batch; i++) {
		volatile struct descriptor *slot = &ring->slots[ring->tail];

		memcpy(ring->buffers + (size_t)ring->tail * BUFFER_BYTES, frame, bytes);
		slot->address = ring->iova + (uint64_t)ring->tail * BUFFER_BYTES;
		slot->command = COMMAND | bytes | (i + 1 == batch ? REPORT : 0);
		slot->status = bytes << 14;
		advance(ring, &ring->tail);
	}
	publish_tail(ring);
}

/* What was reported is done, and all before it. */
static void reap(struct ring *ring, uint32_t batch)
{
	while (used(ring) >= batch) {
		uint32_t last = (ring->head + batch - 1) % ring->count;

		if (!(ring->slots[last].status & DONE))
			return;
		atomic_thread_fence(memory_order_acquire);
		ring->head = (ring->head + batch) % ring->count;
	}
}

static uint32_t receive(struct ring *ring, uint32_t bytes)
{
	uint32_t received = 0;

	while (used(ring) > 0) {
		volatile struct descriptor *slot = &ring->slots[ring->head];
		uint32_t status = slot->command;

		if (!(status & DONE))
			break;
		atomic_thread_fence(memory_order_acquire);
		if (!(status & END_OF_PACKET) || (slot->status & 0xffff) != bytes) {
			fprintf(stderr, "igb: a frame of %u bytes\n", slot->status & 0xffff);
			exit(1);
		}
		advance(ring, &ring->head);
		received++;
	}
	if (received > 0)
		refill(ring, received);
	return received;
}

int main(int argc, char **argv)
{
	if (argc != 9)
		return 2;

	uint8_t *left = map(atoi(argv[1]), BAR_BYTES);
	uint8_t *right = map(atoi(argv[2]), BAR_BYTES);
	uint64_t iova = strtoull(argv[4], NULL, 0);
	uint32_t slots = atoi(argv[5]), queue = atoi(argv[6]), bytes = atoi(argv[7]), batch = atoi(argv[8]);
	size_t ring_bytes = (size_t)slots * DESCRIPTOR_BYTES, buffer_bytes = (size_t)slots * BUFFER_BYTES;
	uint8_t *memory = map(atoi(argv[3]), 2 * (ring_bytes + buffer_bytes) + BUFFER_BYTES);
	struct ring sending = {
		.slots = (void *)memory,
		.buffers = memory + 2 * ring_bytes,
		.iova = iova + 2 * ring_bytes,
		.tail_register = (void *)(left + SEND_TAIL + queue * QUEUE_STRIDE),
		.count = slots,
	};
	struct ring receiving = {
		.slots = (void *)(memory + ring_bytes),
		.buffers = memory + 2 * ring_bytes + buffer_bytes,
		.iova = iova + 2 * ring_bytes + buffer_bytes,
		.tail_register = (void *)(right + RECEIVE_TAIL + queue * QUEUE_STRIDE),
		.count = slots,
	};
	/* The parent has put the frame behind the buffers. */
	const uint8_t *frame = memory + 2 * (ring_bytes + buffer_bytes);
	char line[64];

	refill(&receiving, slots - 1);
	while (fgets(line, sizeof(line), stdin)) {
		uint32_t wanted = strtoul(line, NULL, 0) / batch * batch, sent = 0, received = 0;
		uint64_t start = now_ns();

		while (received < wanted) {
			reap(&sending, batch);
			if (sent < wanted && slots - 1 - used(&sending) >= batch && sent - received + batch < slots) {
				send_batch(&sending, frame, bytes, batch);
				sent += batch;
			}
			received += receive(&receiving, bytes);
		}
		printf("%llu\n", (unsigned long long)(now_ns() - start));
		fflush(stdout);
	}
	return 0;
}
