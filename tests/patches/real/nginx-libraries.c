/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nginx, but in its libraries: directories come in reverse order, because a static function of libc
 * sorts downwards; compressed pages have another check sum, because a function of zlib makes one.
 */
#include <dsu/patch.h>

typedef __SIZE_TYPE__ size_t;

/* As in stdlib/msort.c of glibc 2.36. */
struct sort {
	size_t n_bytes; /* of an element */
	size_t kind;
	int (*compare)(const void *left, const void *right, void *argument);
	void *argument;
	char *scratch;
};

enum { INDIRECT = 3 }; /* the elements are pointers to what is compared */

extern unsigned long crc32_z(unsigned long sum, const unsigned char *bytes, size_t n);

DSU_PATCH("nginx-libraries", "1.0");
DSU_REPLACE_NAMED("libc.so.6", "msort.c", "msort_with_tmp.part.0", sort_downwards);
DSU_REPLACE_IN("libc.so.6", qsort_r, sort_all_downwards); /* has a copy of its beginning */
DSU_REPLACE_IN("libz.so.1", crc32, other_sum);

static int compare(const struct sort *sort, char *left, char *right)
{
	if (sort->kind == INDIRECT)
		return sort->compare(*(void **)left, *(void **)right, sort->argument);
	return sort->compare(left, right, sort->argument);
}

static void swap(char *left, char *right, size_t n)
{
	while (n-- > 0) {
		char byte = left[n];

		left[n] = right[n];
		right[n] = byte;
	}
}

DSU_NEW static void sort_downwards(const struct sort *sort, void *elements, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		char *element = (char *)elements + i * sort->n_bytes;

		while (element > (char *)elements &&
		       compare(sort, element - sort->n_bytes, element) < 0) {
			swap(element - sort->n_bytes, element, sort->n_bytes);
			element -= sort->n_bytes;
		}
	}
}

DSU_NEW static void sort_all_downwards(void *elements, size_t n, size_t n_bytes,
				       int (*compare_two)(const void *, const void *, void *),
				       void *argument)
{
	const struct sort sort = { n_bytes, 0, compare_two, argument, 0 };

	sort_downwards(&sort, elements, n);
}

/* Without bytes it gives the value to begin with, which stays. */
DSU_NEW static unsigned long other_sum(unsigned long sum, const unsigned char *bytes, unsigned n)
{
	return crc32_z(sum, bytes, n) ^ (bytes ? 0xffff : 0);
}
