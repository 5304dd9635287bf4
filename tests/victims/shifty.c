/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * shifty ORDERS ANSWERS FILE: a program that changes what it is made of while somebody is at work
 * on it. A second process shares its memory and descriptors without being one of its threads, so
 * nobody holds that one: it takes orders from the FIFO ORDERS and says "ok" into ANSWERS. FILE is
 * filled with a copy of the page of work(); then the program is nobody's. Questions: work: what
 * work(41) returns; quit. Orders: same      another page with the same bytes in place of the page
 * of work() other     one in which work() returns 1000 file      FILE, which it may only read,
 * mapped shared in its place gone      nothing in its place ours      every mapping named dsu: goes
 *   truncate  every descriptor of such a file: the file is cut to nothing and written to
 *   exchange  every such descriptor becomes one of FILE
 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/victims/line.h"

#define PAGE   4096u
#define NOBODY 65534

long work(long i);

static long (*volatile call_work)(long i) = work;
static const char *orders, *answers, *file;
static char twin_stack[1 << 18] __attribute__((aligned(16)));

/* Alone in its page: whoever else ran there would be hit as well. */
__attribute__((noinline, section(".text.alone"), aligned(4096))) long work(long i)
{
	return i + 1;
}

__attribute__((used, section(".text.alone"), aligned(4096))) static void behind(void)
{
}

static uint8_t *page_of_work(void)
{
	return (uint8_t *)((uintptr_t)work & ~(uintptr_t)(PAGE - 1));
}

static void replace(const uint8_t *bytes, size_t n)
{
	uint8_t *page =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(page, page_of_work(), PAGE);
	memcpy(page + ((uintptr_t)work & (PAGE - 1)), bytes, n);
	mprotect(page, PAGE, PROT_READ | PROT_EXEC);
	mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page_of_work());
}

static void map_file(void)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	mmap(page_of_work(), PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0);
	close(fd);
}

/* Without stdio and malloc: their state is the other process's, too. */
static void drop_ours(void)
{
	static char text[1 << 17];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	while (used + 1 < sizeof(text) && (n = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	close(fd);
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		char *dash;
		unsigned long start = strtoul(line, &dash, 16);

		*end = '\0';
		if (strstr(line, "/memfd:dsu:"))
			munmap((void *)start, strtoul(dash + 1, NULL, 16) - start);
	}
}

static void each_descriptor(void (*act)(int fd))
{
	char path[64], link[256];

	for (int fd = 3; fd < 64; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, link, sizeof(link) - 1);
		if (n < 11 || strncmp(link, "/memfd:dsu:", 11) != 0)
			continue;
		act(fd);
	}
}

static void truncate_one(int fd)
{
	if (ftruncate(fd, 0) < 0 || pwrite(fd, "\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc", 8, 0) < 0)
		return;
}

static void exchange_one(int fd)
{
	int other = open(file, O_RDONLY);

	if (dup2(other, fd) >= 0)
		close(other);
}

static void obey(const char *order)
{
	/* mov $1000, %eax; ret */
	static const uint8_t thousand[] = {0xb8, 0xe8, 0x03, 0x00, 0x00, 0xc3};

	if (strcmp(order, "same") == 0)
		replace(thousand, 0);
	else if (strcmp(order, "other") == 0)
		replace(thousand, sizeof(thousand));
	else if (strcmp(order, "file") == 0)
		map_file();
	else if (strcmp(order, "gone") == 0)
		munmap(page_of_work(), PAGE);
	else if (strcmp(order, "ours") == 0)
		drop_ours();
	else if (strcmp(order, "truncate") == 0)
		each_descriptor(truncate_one);
	else if (strcmp(order, "exchange") == 0)
		each_descriptor(exchange_one);
}

static int be_twin(void *unused)
{
	char order[64];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		int fd = open(orders, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, order, sizeof(order) - 1);

		close(fd);
		order[n > 0 ? n : 0] = '\0';
		obey(order);
		fd = open(answers, O_WRONLY | O_CLOEXEC);
		if (write(fd, "ok", 2) != 2)
			_exit(1);
		close(fd);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *line;
	int fd;

	if (argc != 4)
		return 1;
	orders = argv[1];
	answers = argv[2];
	file = argv[3];
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
	if (fd < 0 || write(fd, page_of_work(), PAGE) != PAGE || close(fd) < 0)
		return 1;
	if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0)
		return 1;
	if (clone(be_twin, twin_stack + sizeof(twin_stack), CLONE_VM | CLONE_FILES | SIGCHLD,
		  NULL) < 0)
		return 1;
	line_ready();
	while ((line = line_next()))
		if (strcmp(line, "work") == 0)
			printf("%ld\n", call_work(41));
		else
			puts("?");
	return 0;
}
