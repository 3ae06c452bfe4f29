/*
 * Does the same map and unmap as the library, in C: cycles of 4 KiB on a descriptor that the parent prepared.
 *
 *   map-unmap iommufd FD IOAS_ID | map-unmap type1 FD IOVA
 *
 * Each line of stdin is a number of cycles to run; the answer is a line with the nanoseconds they took.
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

static void iommufd_cycle(int fd, uint32_t ioas_id, void *memory)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE,
		.ioas_id = ioas_id,
		.user_va = (uintptr_t)memory,
		.length = PAGE,
	};

	if (ioctl(fd, IOMMU_IOAS_MAP, &map))
		fail("IOMMU_IOAS_MAP");

	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = ioas_id,
		.iova = map.iova,
		.length = PAGE,
	};

	if (ioctl(fd, IOMMU_IOAS_UNMAP, &unmap))
		fail("IOMMU_IOAS_UNMAP");
}

static void type1_cycle(int fd, uint64_t iova, void *memory)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = iova,
		.size = PAGE,
	};

	if (ioctl(fd, VFIO_IOMMU_MAP_DMA, &map))
		fail("VFIO_IOMMU_MAP_DMA");

	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = PAGE,
	};

	if (ioctl(fd, VFIO_IOMMU_UNMAP_DMA, &unmap))
		fail("VFIO_IOMMU_UNMAP_DMA");
}

int main(int argc, char **argv)
{
	char line[64];

	if (argc != 4)
		return 2;

	int is_iommufd = !strcmp(argv[1], "iommufd");
	int fd = atoi(argv[2]);
	uint64_t target = strtoull(argv[3], NULL, 0);
	void *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap");
	*(volatile char *)memory = 0;

	while (fgets(line, sizeof(line), stdin)) {
		long cycles = atol(line);
		uint64_t start = now_ns();

		for (long i = 0; i < cycles; i++) {
			if (is_iommufd)
				iommufd_cycle(fd, (uint32_t)target, memory);
			else
				type1_cycle(fd, target, memory);
		}
		printf("%llu\n", (unsigned long long)(now_ns() - start));
		fflush(stdout);
	}
	return 0;
}
