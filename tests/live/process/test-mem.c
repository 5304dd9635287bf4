/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading memory of a target that is a copy of this process, so that every address is known. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "injector/process/maps.h"
#include "injector/process/mem.h"
#include "tests/support/child.h"
#include "tests/support/need.h"

#define PROCESS INJ_CLEANUP(inj_process_guard) struct inj_process *
#define PAGES	8
#define PAGE	INJ_PAGE_BYTES

/* Page 2 may not be read by its owner, page 5 does not exist; byte i of the rest is f(i). */
static unsigned char *area;
static pid_t target;
static struct inj_process *process;

static unsigned char value(size_t i)
{
	return (unsigned char)(i * 31 + i / 256);
}

static void rest(void *argument)
{
	(void)argument;
	mprotect(area + 2 * PAGE, PAGE, PROT_NONE);
	munmap(area + 5 * PAGE, PAGE);
	child_ready();
	child_rest();
}

static void set_up(void)
{
	struct inj_why why;

	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < PAGES * PAGE; i++)
		area[i] = value(i);
	target = child_start(rest, NULL);
	cr_assert_eq(inj_process_open(target, &process, &why), 0, "%s", why.text);
}

static void tear_down(void)
{
	inj_process_close(process);
	child_end(target);
}

TestSuite(mem, .init = set_up, .fini = tear_down);

static inj_addr at(size_t offset)
{
	return (inj_addr)(uintptr_t)area + offset;
}

static void expect(const unsigned char *buffer, size_t offset, size_t length)
{
	for (size_t i = 0; i < length; i++)
		cr_assert_eq(buffer[i], value(offset + i), "byte %zu", offset + i);
}

Test(mem, plain)
{
	unsigned char buffer[2 * PAGE];

	cr_assert_eq(inj_mem_read(process, at(7), buffer, 2 * PAGE - 7), 0);
	expect(buffer, 7, 2 * PAGE - 7);
	cr_assert_eq(inj_mem_read(process, at(0), NULL, 0), 0);
	cr_assert_eq(inj_mem_read(process, 0, NULL, 0), 0);
}

Test(mem, page_that_its_owner_may_not_read)
{
	unsigned char buffer[5 * PAGE];

	need_root();
	cr_assert_eq(inj_mem_read(process, at(2 * PAGE + 5), buffer, 10), 0);
	expect(buffer, 2 * PAGE + 5, 10);
	cr_assert_eq(inj_mem_read(process, at(3), buffer, 5 * PAGE - 3), 0);
	expect(buffer, 3, 5 * PAGE - 3);
}

Test(mem, nothing_there)
{
	unsigned char buffer[PAGES * PAGE];

	cr_assert_eq(inj_mem_read(process, at(5 * PAGE), buffer, 1), -EFAULT);
	cr_assert_eq(inj_mem_read(process, at(5 * PAGE - 1), buffer, 2), -EFAULT);
	cr_assert_eq(inj_mem_read(process, at(0), buffer, sizeof(buffer)), -EFAULT);
	cr_assert_eq(inj_mem_read(process, 0, buffer, 1), -EFAULT);
	cr_assert_eq(inj_mem_read(process, UINT64_C(0x7ffffffff000), buffer, 1), -EFAULT);
	cr_assert_eq(inj_mem_read(process, UINT64_C(1) << 48, buffer, 1), -EFAULT);
	cr_assert_eq(inj_mem_read(process, UINT64_C(1) << 63, buffer, 1), -EFAULT);
	cr_assert_eq(inj_mem_read(process, UINT64_MAX, buffer, 1), -EFAULT);
	cr_assert_eq(inj_mem_read(process, UINT64_MAX - 1, buffer, 100), -EFAULT);
}

/* More parts than one call takes, empty ones among them, some of them to be read slowly. */
Test(mem, many_parts)
{
	enum { PARTS = 3 * IOV_MAX + 17 };
	static struct inj_mem_part parts[PARTS];
	static unsigned char buffers[PARTS][64];
	size_t offsets[PARTS];

	need_root();
	for (size_t i = 0; i < PARTS; i++) {
		offsets[i] = i * 6037 % (5 * PAGE - 64);
		parts[i] = (struct inj_mem_part){at(offsets[i]), buffers[i], i % 65};
	}
	cr_assert_eq(inj_mem_read_parts(process, parts, PARTS), 0);
	for (size_t i = 0; i < PARTS; i++)
		expect(buffers[i], offsets[i], parts[i].length);

	/* One bad part anywhere spoils it all. */
	for (size_t bad = 1; bad < PARTS; bad += 700) {
		inj_addr good = parts[bad].address;

		parts[bad].address = at(5 * PAGE);
		cr_assert_eq(inj_mem_read_parts(process, parts, PARTS), -EFAULT);
		parts[bad].address = good;
	}
	cr_assert_eq(inj_mem_read_parts(process, parts, 0), 0);
	cr_assert_eq(inj_mem_read_parts(process, NULL, 0), 0);
}

Test(mem, only_empty_parts)
{
	struct inj_mem_part parts[3] = {{at(5 * PAGE), NULL, 0}, {0, NULL, 0}, {at(0), NULL, 0}};

	cr_assert_eq(inj_mem_read_parts(process, parts, 3), 0);
}

Test(mem, after_its_end)
{
	unsigned char byte;

	child_end(target);
	cr_assert_eq(inj_mem_read(process, at(0), &byte, 1), -ESRCH);
	cr_assert_eq(inj_mem_read(process, at(2 * PAGE), &byte, 1), -ESRCH);
	target = child_start(rest, NULL);
}

static void strings(void *argument)
{
	(void)argument;
	/* The NUL is the last byte before the page that does not exist. */
	memset(area + 3 * PAGE, 's', 2 * PAGE);
	area[5 * PAGE - 1] = '\0';
	rest(NULL);
}

Test(string, to_the_last_byte)
{
	struct inj_why why;
	char buffer[3 * PAGE];

	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	target = child_start(strings, NULL);
	cr_assert_eq(inj_process_open(target, &process, &why), 0, "%s", why.text);
	/* Across a page, up to the hole. */
	cr_assert_eq(inj_mem_read_string(process, at(4 * PAGE - 10), buffer, sizeof(buffer)), 0);
	cr_assert_eq(strlen(buffer), PAGE + 9);
	/* Just fits, and just does not. */
	cr_assert_eq(inj_mem_read_string(process, at(5 * PAGE - 5), buffer, 5), 0);
	cr_assert_str_eq(buffer, "ssss");
	cr_assert_eq(inj_mem_read_string(process, at(5 * PAGE - 5), buffer, 4), -ENAMETOOLONG);
	cr_assert_eq(inj_mem_read_string(process, at(5 * PAGE - 1), buffer, 1), 0);
	cr_assert_str_eq(buffer, "");
	cr_assert_eq(inj_mem_read_string(process, at(5 * PAGE), buffer, 9), -EFAULT);
	cr_assert_eq(inj_mem_read_string(process, UINT64_MAX - 3, buffer, 9), -EFAULT);
	tear_down();
}

/* Mappings that come, grow and go while they are read never make a list that cannot be. */
static void churn(void *argument)
{
	(void)argument;

	char *base = mmap(NULL, 512 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	child_ready();
	for (size_t i = 0;; i++) {
		size_t from = i * 7919 % 500;
		size_t pages = 1 + i % 12;

		if (i % 3 == 0)
			munmap(base + from * PAGE, pages * PAGE);
		else
			mmap(base + from * PAGE, pages * PAGE, i % 2 ? PROT_READ : PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	}
}

Test(maps, of_a_target_in_motion)
{
	struct inj_why why;

	target = child_start(churn, NULL);
	cr_assert_eq(inj_process_open(target, &process, &why), 0, "%s", why.text);
	for (int i = 0; i < 500; i++) {
		INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = NULL;

		cr_assert_eq(inj_maps_read(process, &maps, &why), 0, "%s", why.text);
		cr_assert_gt(maps->n_items, 10);
		cr_assert_not_null(inj_maps_find(maps, (inj_addr)(uintptr_t)churn));
	}
	tear_down();
}
