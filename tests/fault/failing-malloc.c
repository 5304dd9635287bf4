/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the allocator of a program, in front of the C library's. Always holds: nothing is allocated
 * here. Refuses what it is told to refuse, with ENOMEM.
 */
#include "tests/fault/failing-malloc.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

/* The C library's own, under names that nobody replaces. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_bool counting;
static atomic_size_t n_counted;
static size_t fail_at; /* 0: never */
static unsigned fail_how;
static bool is_child; /* asking the kernel who we are is not for confined processes */
static atomic_size_t *most; /* shared with children */

static void note_most(size_t n)
{
	size_t seen = atomic_load(most);

	while (n > seen && !atomic_compare_exchange_weak(most, &seen, n))
		;
}

static bool fails(void)
{
	if (!atomic_load(&counting) || is_child != !!(fail_how & FAILING_IN_CHILDREN))
		return false;

	size_t n = atomic_fetch_add(&n_counted, 1) + 1;

	note_most(n);
	if (fail_at == 0 || n < fail_at || (n > fail_at && !(fail_how & FAILING_FOR_EVER)))
		return false;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	return size > 0 && fails() ? NULL : __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size)
{
	return fails() ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	void *memory = fails() ? NULL : __libc_memalign(alignment, size);

	if (!memory)
		return ENOMEM;
	*ret = memory;
	return 0;
}

static void become_child(void)
{
	is_child = true;
	atomic_store(&n_counted, 0);
}

void failing_malloc_arm(size_t n, unsigned how)
{
	if (!most) {
		pthread_atfork(NULL, NULL, become_child);
		most = mmap(NULL, sizeof(*most), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	}
	if (most == MAP_FAILED)
		abort();
	atomic_store(most, 0);
	fail_at = n;
	fail_how = how;
	is_child = false;
	atomic_store(&n_counted, 0);
	atomic_store(&counting, true);
}

size_t failing_malloc_stop(void)
{
	atomic_store(&counting, false);
	return atomic_load(most);
}
