/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One of everything that a linker has to place: data and function pointers, tables, strings,
 * static data, .bss, calls into libc (its indirect functions among them), private symbols, and
 * thread-local variables that exist already. tests/unit/image/test-link.c runs it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dsu/patch.h>

/* Link-time optimisation renames static functions. */
#ifdef NO_STATIC
#define LOCAL
#else
#define LOCAL DSU_NEW static
#endif

DSU_PATCH("link-all", "1.0");

extern int greeted;
extern int counter_b DSU_SYMBOL("dir/b-1.c", counter);
extern int scale_b(int) DSU_SYMBOL("dir/b-1.c", scale);
extern int absent __attribute__((weak));
extern __thread int turns;
extern __thread long history[4];
extern __thread char private_tls DSU_SYMBOL("b+c.c", note);

static int calls;         /* .bss */
static int seed = 7;      /* .data */
static char scratch[200]; /* .bss, never file-backed */
int public_number = 5;    /* preemptible */
int *const number_at = &public_number;
int *const third_turn = (int *)&greeted;

static int twice(int x)
{
	return 2 * x;
}

int thrice(int x)
{
	return 3 * x;
}

static int (*const table[])(int) = {twice, thrice, scale_b, abs};
static const char *const names[] = {"none", "one", "two", "three"};
static size_t (*volatile length_of)(const char *) = strlen;
static void *(*volatile copy_by_pointer)(void *, const void *, size_t) = memcpy;

LOCAL int by_table(int which, int x)
{
	return table[which & 3](x);
}

LOCAL const char *by_switch(int x)
{
	switch (x) {
	case 0:
		return "zero";
	case 1:
		return names[1];
	case 2:
		return names[2];
	case 3:
		return names[3];
	case 4:
		return "vier";
	case 5:
		return "fuenf";
	case 6:
		return "sechs";
	case 7:
		return "sieben";
	default:
		return "many";
	}
}

LOCAL int data_new(int x)
{
	greeted += x;
	counter_b++;
	calls++;
	seed++;
	return *number_at + *third_turn + seed + calls + (&absent ? 1000 : 0);
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

LOCAL int libc_new(char *out, size_t size, int n)
{
	int numbers[] = {5, 3, 9, 1};

	qsort(numbers, 4, sizeof(numbers[0]), compare);
	copy_by_pointer(scratch, "copied", 7);
	memset(scratch + 7, 0, sizeof(scratch) - 7);

	char *heap = malloc(256);

	snprintf(heap, 256, "%s %d %d %d", scratch, numbers[0], numbers[3], n);
	n = snprintf(out, size, "%s/%zu", heap, length_of(heap));
	free(heap);
	return n;
}

LOCAL long tls_new(int x)
{
	turns += x;
	history[2] = turns;
	private_tls++;
	return history[1] + history[2] + private_tls;
}

LOCAL void *tls_address_new(void)
{
	return &history[3];
}

DSU_REPLACE(data, data_new);
DSU_REPLACE(DSU_SYMBOL("x/y.c", by_table), by_table);
DSU_REPLACE_IN("libexample.so.1", by_switch, by_switch);
DSU_REPLACE_NAMED("", "z.c", "libc.part.0", libc_new);
DSU_REPLACE(tls, tls_new);
DSU_REPLACE(tls_address, tls_address_new);
