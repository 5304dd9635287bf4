/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the comparison of a target with itself. Always holds: bytes are read through
 * /proc/PID/mem and not with the code under test. Refuses nothing but unreadable processes; an
 * executable page that cannot be read is part of the state ([vsyscall] is left out: it is the
 * kernel's and at no offset that a file can have).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "injector/base/io.h"
#include "injector/process/maps.h"
#include "tests/support/account.h"
#include "tests/support/snapshot.h"

#define MAPS_MAX_BYTES (64u << 20)
#define SHOWN_BYTES    16

struct snapshot {
	pid_t pid;
	struct inj_maps *maps;
	unsigned char **code; /* for each mapping its bytes, NULL when not executable */
	int *errors;	      /* for each mapping 0 or the errno of reading it */
};

static int open_file(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);

	int fd = open(path, O_RDONLY | O_CLOEXEC);

	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	return fd;
}

static struct inj_maps *read_maps(pid_t pid)
{
	INJ_CLOSE int fd = open_file(pid, "maps");
	struct inj_maps *maps = NULL;
	char *text = NULL;
	size_t length = 0;
	int r = inj_read_whole(fd, MAPS_MAX_BYTES, &text, &length);

	cr_assert_eq(r, 0, "reading the maps of %d: %s", (int)pid, strerror(-r));
	r = inj_maps_parse(text, length, &maps);
	cr_assert_eq(r, 0, "parsing the maps of %d: %s", (int)pid, strerror(-r));
	return maps;
}

static bool worth_reading(const struct inj_map *map)
{
	return (map->prot & PROT_EXEC) && map->range.end <= INT64_MAX;
}

struct snapshot *snapshot_take(pid_t pid)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

	cr_assert_not_null(snapshot);
	snapshot->pid = pid;
	snapshot->maps = read_maps(pid);

	size_t n = snapshot->maps->n_items;
	INJ_CLOSE int fd = n ? open_file(pid, "mem") : -1;

	snapshot->code = calloc(n + 1, sizeof(*snapshot->code));
	snapshot->errors = calloc(n + 1, sizeof(*snapshot->errors));
	cr_assert(snapshot->code && snapshot->errors);
	for (size_t i = 0; i < n; i++) {
		const struct inj_map *map = &snapshot->maps->items[i];
		size_t length = map->range.end - map->range.start;

		if (!worth_reading(map))
			continue;
		snapshot->code[i] = calloc(1, length);
		cr_assert_not_null(snapshot->code[i], "no memory for %zu bytes of code", length);
		snapshot->errors[i] =
			-inj_pread_full(fd, snapshot->code[i], length, (off_t)map->range.start);
	}
	return snapshot;
}

void snapshot_free(struct snapshot *snapshot)
{
	if (!snapshot)
		return;
	for (size_t i = 0; i < snapshot->maps->n_items; i++)
		free(snapshot->code[i]);
	free(snapshot->code);
	free(snapshot->errors);
	inj_maps_free(snapshot->maps);
	free(snapshot);
}

/* Differences of two snapshots, but for those that are allowed. */
struct comparison {
	struct account account;
	bool (*allowed)(void *context, const struct snapshot_change *change);
	void *context;
};

static bool is_allowed(const struct comparison *comparison, const struct snapshot_change *change)
{
	return comparison->allowed && comparison->allowed(comparison->context, change);
}

static void note_map(struct comparison *comparison, char sign, const struct inj_map *map)
{
	if (is_allowed(comparison, &(struct snapshot_change){sign, map->range, map->name, NULL}))
		return;
	account_note(&comparison->account, "%c %lx-%lx %c%c%c%c %lx %x:%x %lu %s\n", sign,
		     map->range.start, map->range.end, map->prot & PROT_READ ? 'r' : '-',
		     map->prot & PROT_WRITE ? 'w' : '-', map->prot & PROT_EXEC ? 'x' : '-',
		     map->shared ? 's' : 'p', map->offset, map->dev_major, map->dev_minor,
		     map->inode, map->name);
}

static bool ignored(const struct inj_map *map, unsigned options)
{
	if (options & SNAPSHOT_DATA)
		return !map->shared && !(map->prot & PROT_EXEC) && map->inode == 0 &&
		       (map->name[0] == '\0' || strncmp(map->name, "[anon:", 6) == 0);
	return false;
}

/* Same mapping but for what may grow? */
static bool same_map(const struct inj_map *a, const struct inj_map *b, unsigned options)
{
	bool may_grow = options & (SNAPSHOT_GROWTH | SNAPSHOT_DATA);
	bool any_start = may_grow && strcmp(a->name, "[stack]") == 0;
	bool any_end = may_grow && strcmp(a->name, "[heap]") == 0;

	return (any_start || a->range.start == b->range.start) &&
	       (any_end || a->range.end == b->range.end) && a->prot == b->prot &&
	       a->shared == b->shared && (any_start || a->offset == b->offset) &&
	       a->dev_major == b->dev_major && a->dev_minor == b->dev_minor &&
	       a->inode == b->inode && strcmp(a->name, b->name) == 0;
}

/* One line for each run of changed bytes, the start of it shown. */
static void compare_code(struct comparison *comparison, const struct inj_map *map,
			 const unsigned char *before, const unsigned char *after, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		char was[SHOWN_BYTES * 3 + 1] = "", is[SHOWN_BYTES * 3 + 1] = "";
		struct snapshot_change change = {'~', map->range, map->name, after + i};
		size_t start = i;

		if (before[i] == after[i])
			continue;
		for (; i < length && before[i] != after[i]; i++) {
			size_t at = i - start;

			if (at >= SHOWN_BYTES)
				continue;
			snprintf(was + at * 3, 4, " %02x", before[i]);
			snprintf(is + at * 3, 4, " %02x", after[i]);
		}
		change.range = (struct inj_range){map->range.start + start, map->range.start + i};
		if (!is_allowed(comparison, &change))
			account_note(&comparison->account, "~ %lx (%s) %zu bytes:%s ->%s\n",
				     change.range.start, map->name, i - start, was, is);
	}
}

static void compare_pair(struct comparison *comparison, const struct snapshot *before, size_t i,
			 const struct snapshot *after, size_t k)
{
	const struct inj_map *map = &before->maps->items[i];
	const struct inj_map *now = &after->maps->items[k];

	if (before->errors[i] != after->errors[k])
		account_note(&comparison->account, "~ %lx (%s) readable: errno %d -> %d\n",
			     map->range.start, map->name, before->errors[i], after->errors[k]);
	else if (before->code[i] && after->code[k] &&
		 map->range.end - map->range.start == now->range.end - now->range.start)
		compare_code(comparison, map, before->code[i], after->code[k],
			     map->range.end - map->range.start);
}

static size_t skip_ignored(const struct snapshot *snapshot, size_t i, unsigned options)
{
	while (i < snapshot->maps->n_items && ignored(&snapshot->maps->items[i], options))
		i++;
	return i;
}

size_t snapshot_diff(const struct snapshot *before, const struct snapshot *after, unsigned options,
		     char *buffer, size_t size)
{
	return snapshot_diff_but(before, after, options, NULL, NULL, buffer, size);
}

size_t snapshot_diff_but(const struct snapshot *before, const struct snapshot *after,
			 unsigned options,
			 bool (*allowed)(void *context, const struct snapshot_change *change),
			 void *context, char *buffer, size_t size)
{
	struct comparison comparison = {
		.account = {.text = buffer, .size = size},
		.allowed = allowed,
		.context = context,
	};
	size_t i = 0, k = 0;

	if (size > 0)
		buffer[0] = '\0';
	for (;;) {
		i = skip_ignored(before, i, options);
		k = skip_ignored(after, k, options);

		const struct inj_map *a =
			i < before->maps->n_items ? &before->maps->items[i] : NULL;
		const struct inj_map *b = k < after->maps->n_items ? &after->maps->items[k] : NULL;

		if (!a && !b)
			return comparison.account.n;
		if (a && b && same_map(a, b, options)) {
			compare_pair(&comparison, before, i++, after, k++);
		} else if (!b || (a && a->range.start <= b->range.start)) {
			note_map(&comparison, '-', a);
			i++;
		} else {
			note_map(&comparison, '+', b);
			k++;
		}
	}
}

void snapshot_expect_same(const struct snapshot *before, unsigned options)
{
	static char text[16384];
	SNAPSHOT after = snapshot_take(before->pid);
	size_t n = snapshot_diff(before, after, options, text, sizeof(text));

	cr_assert_eq(n, 0, "process %d changed in %zu places:\n%s", (int)before->pid, n, text);
}
