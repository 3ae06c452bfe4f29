/*
 * Two 82576 and the wire between them, in shared memory: whatever the rings of one send, those of the other receive. Nothing is
 * lost: a frame waits until there is a buffer for it. Only what a driver's rings use is there.
 *
 *   igb-wire LEFT RIGHT [MEMORY IOVA BYTES]...
 *
 * LEFT and RIGHT are files with the registers, MEMORY is a file that the devices reach at IOVA: descriptors. Each line of stdin is the
 * wire's speed in picoseconds for each byte, 0 for no limit; its end is that of the program.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BAR_BYTES 0x20000
#define QUEUES 3
#define QUEUE_STRIDE 0x40
#define RECEIVE 0xc000
#define SEND 0xe000
#define BASE_LOW 0x00
#define BASE_HIGH 0x04
#define SIZE 0x08
#define TAIL 0x18
#define CONTROL 0x28
#define ENABLE (1u << 25)
#define DESCRIPTOR_BYTES 16
#define TYPE_SHIFT 20
#define TYPE_MASK 0xf
#define TYPE_CONTEXT 2
#define LENGTH_MASK 0xffff
#define REPORT 0x08000000u
#define DONE 1u
#define END_OF_PACKET 2u
#define MOST_REGIONS 4
/* Of each frame besides its bytes: CRC, preamble, gap. */
#define AROUND 24
/* The program may look away for so long: the scheduler of a busy machine. */
#define PATIENCE_PS 20000000ull
#define TURNS_PER_POLL 100000

struct descriptor {
	uint64_t address;
	uint64_t rest;
};

struct region {
	uint8_t *bytes;
	uint64_t iova, size;
};

struct ring {
	struct descriptor *slots;
	uint32_t count, head;
};

static uint64_t ps_per_byte;
/* When the wire is free again. */
static uint64_t free_at_ps;

static struct region regions[MOST_REGIONS];
static int region_count;

static uint8_t *map(int fd, size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return memory;
}

static uint8_t *at(uint64_t iova, uint64_t bytes)
{
	for (int i = 0; i < region_count; i++) {
		struct region *region = &regions[i];

		if (iova >= region->iova && iova - region->iova + bytes <= region->size)
			return region->bytes + (iova - region->iova);
	}
	fprintf(stderr, "igb-wire: nothing is mapped at %#llx\n", (unsigned long long)iova);
	exit(1);
}

static uint32_t load(const uint8_t *bar, uint32_t offset)
{
	return __atomic_load_n((const uint32_t *)(bar + offset), __ATOMIC_ACQUIRE);
}

/* Looks at a ring's registers when it is enabled, as often as that happens. */
static int is_ready(struct ring *ring, const uint8_t *bar, uint32_t offset)
{
	if (!(load(bar, offset + CONTROL) & ENABLE)) {
		ring->slots = NULL;
		return 0;
	}
	if (!ring->slots) {
		uint32_t bytes = load(bar, offset + SIZE);

		ring->slots = (void *)at(load(bar, offset + BASE_LOW) | (uint64_t)load(bar, offset + BASE_HIGH) << 32, bytes);
		ring->count = bytes / DESCRIPTOR_BYTES;
		ring->head = 0;
	}
	return 1;
}

static void advance(struct ring *ring)
{
	ring->head = ring->head + 1 == ring->count ? 0 : ring->head + 1;
}

static uint64_t now_ps(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec) * 1000;
}

static void carry(struct ring *from, uint32_t from_tail, struct ring *to, uint32_t to_tail)
{
	uint64_t now = ps_per_byte ? now_ps() : 0;

	if (from->head == from_tail)
		return;
	/* What wasn't sent in time can't be made up for. */
	if (free_at_ps + PATIENCE_PS < now)
		free_at_ps = now;
	while (from->head != from_tail && free_at_ps <= now) {
		struct descriptor *sent = &from->slots[from->head], *received = &to->slots[to->head];
		uint32_t command = (uint32_t)sent->rest;

		if ((command >> TYPE_SHIFT & TYPE_MASK) != TYPE_CONTEXT) {
			uint32_t bytes = command & LENGTH_MASK;

			if (to->head == to_tail)
				return;
			memcpy(at(received->address, bytes), at(sent->address, bytes), bytes);
			received->address = 0;
			__atomic_store_n(&received->rest, DONE | END_OF_PACKET | (uint64_t)bytes << 32, __ATOMIC_RELEASE);
			advance(to);
			free_at_ps += (bytes + AROUND) * ps_per_byte;
		}
		if (command & REPORT)
			__atomic_store_n(&sent->rest, (uint64_t)DONE << 32, __ATOMIC_RELEASE);
		advance(from);
	}
}

int main(int argc, char **argv)
{
	if (argc < 3 || (argc - 3) % 3 || (argc - 3) / 3 > MOST_REGIONS)
		return 2;

	uint8_t *left = map(atoi(argv[1]), BAR_BYTES);
	uint8_t *right = map(atoi(argv[2]), BAR_BYTES);
	struct ring sending[QUEUES] = { 0 }, receiving[QUEUES] = { 0 };
	struct pollfd in = { .fd = 0, .events = POLLIN };

	for (int i = 3; i < argc; i += 3) {
		uint64_t bytes = strtoull(argv[i + 2], NULL, 0);

		regions[region_count++] = (struct region){ map(atoi(argv[i]), bytes), strtoull(argv[i + 1], NULL, 0), bytes };
	}
	for (;;) {
		for (int turn = 0; turn < TURNS_PER_POLL; turn++) {
			for (int queue = 0; queue < QUEUES; queue++) {
				uint32_t send = SEND + queue * QUEUE_STRIDE, receive = RECEIVE + queue * QUEUE_STRIDE;

				if (is_ready(&sending[queue], left, send) & is_ready(&receiving[queue], right, receive))
					carry(&sending[queue], load(left, send + TAIL), &receiving[queue], load(right, receive + TAIL));
			}
		}
		if (poll(&in, 1, 0) > 0) {
			char line[32];
			ssize_t length = read(0, line, sizeof(line) - 1);

			if (length <= 0)
				return 0;
			line[length] = 0;
			ps_per_byte = strtoull(line, NULL, 0);
			free_at_ps = ps_per_byte ? now_ps() : 0;
		}
	}
}
