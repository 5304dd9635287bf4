/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the list of mappings: the parser of /proc/PID/maps and the search in it. Written by hand
 * because it runs for every update, on lists of thousands of lines. Always holds: items ascend
 * and never overlap, names point into the text that the list owns. Refuses every line that the
 * kernel would not print: a target chooses only the names, and the kernel escapes their line
 * feeds.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "injector/process/maps.h"

/* A million mappings, some twenty times the usual vm.max_map_count. */
#define MAPS_MAX_BYTES (128u << 20)
#define MAX_READINGS   16

/* What is left of the text while it is parsed. */
struct scanner {
	const char *at;
	const char *end;
};

static bool take(struct scanner *scanner, char expected)
{
	if (scanner->at == scanner->end || *scanner->at != expected)
		return false;
	scanner->at++;
	return true;
}

static bool take_hex(struct scanner *scanner, uint64_t *ret)
{
	const char *start = scanner->at;
	uint64_t value = 0;

	for (; scanner->at < scanner->end; scanner->at++) {
		char c = *scanner->at;
		unsigned digit;

		if (c >= '0' && c <= '9')
			digit = (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			digit = (unsigned)(c - 'a') + 10;
		else
			break;
		if (value >> 60)
			return false;
		value = value << 4 | digit;
	}
	*ret = value;
	return scanner->at > start;
}

static bool take_decimal(struct scanner *scanner, uint64_t *ret)
{
	const char *start = scanner->at;
	uint64_t value = 0;

	for (; scanner->at < scanner->end && *scanner->at >= '0' && *scanner->at <= '9';
	     scanner->at++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (unsigned)(*scanner->at - '0'), &value))
			return false;
	*ret = value;
	return scanner->at > start;
}

/* "r-xp": each place has its letter or '-', the last is 's' or 'p'. */
static bool take_permissions(struct scanner *scanner, struct inj_map *map)
{
	static const struct {
		char letter;
		unsigned prot;
	} places[] = {{'r', PROT_READ}, {'w', PROT_WRITE}, {'x', PROT_EXEC}};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(places); i++) {
		if (take(scanner, places[i].letter))
			map->prot |= places[i].prot;
		else if (!take(scanner, '-'))
			return false;
	}
	map->shared = take(scanner, 's');
	return map->shared || take(scanner, 'p');
}

static bool take_device(struct scanner *scanner, struct inj_map *map)
{
	uint64_t major, minor;

	if (!take_hex(scanner, &major) || !take(scanner, ':') || !take_hex(scanner, &minor) ||
	    major > UINT32_MAX || minor > UINT32_MAX)
		return false;
	map->dev_major = (uint32_t)major;
	map->dev_minor = (uint32_t)minor;
	return true;
}

/* start-end rwxp offset major:minor inode, then blanks and a name or nothing. */
static bool parse_line(struct scanner line, struct inj_map *map)
{
	if (!take_hex(&line, &map->range.start) || !take(&line, '-') ||
	    !take_hex(&line, &map->range.end) || !take(&line, ' ') ||
	    !take_permissions(&line, map) || !take(&line, ' ') || !take_hex(&line, &map->offset) ||
	    !take(&line, ' ') || !take_device(&line, map) || !take(&line, ' ') ||
	    !take_decimal(&line, &map->inode))
		return false;
	if (line.at < line.end && *line.at != ' ')
		return false;
	while (take(&line, ' '))
		;
	/* The caller made a NUL of the line feed, so the rest of the line is a string. */
	map->name = line.at;
	return map->range.start < map->range.end &&
	       ((map->range.start | map->range.end) & (INJ_PAGE_BYTES - 1)) == 0;
}

static size_t count_lines(const char *text, size_t length)
{
	size_t n = 0;

	for (const char *at = text; (at = memchr(at, '\n', length - (size_t)(at - text))); at++)
		n++;
	return n;
}

static int parse_lines(struct inj_maps *maps, size_t length)
{
	char *at = maps->text;
	char *end = maps->text + length;
	inj_addr free_from = 0;

	while (at < end) {
		char *line_end = memchr(at, '\n', (size_t)(end - at));
		struct inj_map *map = &maps->items[maps->n_items];

		if (!line_end)
			return -EBADMSG;
		*line_end = '\0';
		if (!parse_line((struct scanner){at, line_end}, map) ||
		    map->range.start < free_from)
			return -EBADMSG;
		free_from = map->range.end;
		maps->n_items++;
		at = line_end + 1;
	}
	return 0;
}

int inj_maps_parse(char *text, size_t length, struct inj_maps **ret)
{
	INJ_FREE char *owned = text;
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = calloc(1, sizeof(*maps));

	if (!maps)
		return -ENOMEM;
	if (length > 0 && memchr(text, '\0', length))
		return -EBADMSG;

	size_t n_lines = length > 0 ? count_lines(text, length) : 0;

	/* Shorter lines than this are wrong: a text of bare line feeds shall not cost us memory. */
	if (n_lines > length / strlen("0-1 ---p 0 0:0 0\n"))
		return -EBADMSG;
	maps->items = calloc(n_lines ? n_lines : 1, sizeof(*maps->items));
	if (!maps->items)
		return -ENOMEM;
	maps->text = INJ_TAKE(owned);

	int r = parse_lines(maps, length);

	if (r < 0)
		return r;
	*ret = INJ_TAKE(maps);
	return 0;
}

int inj_maps_read(const struct inj_process *process, struct inj_maps **ret, struct inj_why *why)
{
	struct inj_maps *maps = NULL;
	int r = -EBADMSG;

	/*
	 * The kernel prints page by page: a mapping that grew downwards over ones already printed
	 * shows as an overlap. Then what we hold never existed, so look again.
	 */
	for (int i = 0; i < MAX_READINGS && r == -EBADMSG; i++) {
		char *text = NULL;
		size_t length = 0;

		r = inj_process_read_file(process, "maps", MAPS_MAX_BYTES, &text, &length);
		if (r == 0)
			r = inj_maps_parse(text, length, &maps);
	}
	if (r == 0 && maps->n_items == 0) {
		inj_maps_free(maps);
		r = -ESRCH;
	}
	if (r == 0) {
		*ret = maps;
		return 0;
	}
	if (r == -ESRCH || r == -ENOENT)
		r = inj_refuse(why, INJ_PROCESS_GONE,
			       "process %d (%s) went away; nothing is left to change",
			       (int)process->pid, process->comm);
	else
		r = inj_broke(why, r, "cannot read the mappings of process %d (%s)",
			      (int)process->pid, process->comm);
	if (why)
		why->pid = process->pid;
	return r;
}

void inj_maps_free(struct inj_maps *maps)
{
	if (!maps)
		return;
	free(maps->items);
	free(maps->text);
	free(maps);
}

const struct inj_map *inj_maps_find(const struct inj_maps *maps, inj_addr address)
{
	size_t low = 0;
	size_t high = maps->n_items;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct inj_map *map = &maps->items[middle];

		if (inj_range_has(map->range, address))
			return map;
		if (address < map->range.start)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}
