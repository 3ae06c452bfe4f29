/*
 * Maps one page at many fixed addresses and unmaps all of them again, on a descriptor that the parent prepared.
 *
 *   mappings iommufd FD IOAS_ID | mappings type1 FD 0
 *
 * Each line of stdin is a number of mappings. The answer is a line of nanoseconds: the first and the last thousand to be mapped,
 * all of them, and the same of unmapping.
 */
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096
#define PART 1000
/* Apart from what the library chooses. */
#define BASE 0x100000000ULL

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int is_iommufd;
static int fd;
static uint32_t ioas_id;
static void *memory;

static void map(uint64_t iova)
{
	if (is_iommufd) {
		struct iommu_ioas_map request = {
			.size = sizeof(request),
			.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE,
			.ioas_id = ioas_id,
			.user_va = (uintptr_t)memory,
			.length = PAGE,
			.iova = iova,
		};

		if (ioctl(fd, IOMMU_IOAS_MAP, &request))
			fail("IOMMU_IOAS_MAP");
	} else {
		struct vfio_iommu_type1_dma_map request = {
			.argsz = sizeof(request),
			.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
			.vaddr = (uintptr_t)memory,
			.iova = iova,
			.size = PAGE,
		};

		if (ioctl(fd, VFIO_IOMMU_MAP_DMA, &request))
			fail("VFIO_IOMMU_MAP_DMA");
	}
}

static void unmap(uint64_t iova)
{
	if (is_iommufd) {
		struct iommu_ioas_unmap request = {
			.size = sizeof(request),
			.ioas_id = ioas_id,
			.iova = iova,
			.length = PAGE,
		};

		if (ioctl(fd, IOMMU_IOAS_UNMAP, &request))
			fail("IOMMU_IOAS_UNMAP");
	} else {
		struct vfio_iommu_type1_dma_unmap request = {
			.argsz = sizeof(request),
			.iova = iova,
			.size = PAGE,
		};

		if (ioctl(fd, VFIO_IOMMU_UNMAP_DMA, &request))
			fail("VFIO_IOMMU_UNMAP_DMA");
	}
}

static void measure(long count, void (*step)(uint64_t))
{
	uint64_t start = now_ns(), first = 0, last = start;

	for (long i = 0; i < count; i++) {
		if (i == PART)
			first = now_ns() - start;
		if (i == count - PART)
			last = now_ns();
		step(BASE + (uint64_t)i * PAGE);
	}

	uint64_t end = now_ns();

	printf("%llu %llu %llu ", (unsigned long long)first, (unsigned long long)(end - last),
	       (unsigned long long)(end - start));
}

int main(int argc, char **argv)
{
	char line[64];

	if (argc != 4)
		return 2;
	is_iommufd = !strcmp(argv[1], "iommufd");
	fd = atoi(argv[2]);
	ioas_id = (uint32_t)strtoul(argv[3], NULL, 0);
	memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		fail("mmap");
	*(volatile char *)memory = 0;

	while (fgets(line, sizeof(line), stdin)) {
		long count = atol(line);

		measure(count, map);
		measure(count, unmap);
		printf("\n");
		fflush(stdout);
	}
	return 0;
}
