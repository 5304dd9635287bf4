/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/fuzz/make-message.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_DEPTH 24
#define MAX_ITEMS 4096

struct source {
	const uint8_t *at;
	size_t left;
	size_t n_items;
	int fd;
};

static uint8_t take(struct source *source)
{
	if (source->left == 0)
		return 0;
	source->left--;
	return *source->at++;
}

static uint64_t take_number(struct source *source)
{
	uint64_t number = 0;

	for (int i = 0; i < 8; i++)
		number = number << 8 | take(source);
	return number;
}

/* What the code under test knows by name, and what is hard to show. */
static const char *const words[] = {
	"",
	"pid",
	"exe",
	"comm",
	"unit",
	"1",
	"4294967296",
	"-1",
	"/",
	"/proc/self/exe",
	"timeout_usec",
	"protocol",
	"hold_budget_usec",
	"patch",
	"safe-redefine",
	"targets",
	"processes",
	"functions",
	"blockers",
	"notes",
	"message",
	"error",
	"result",
	"applied",
	"refused",
	"blocked",
	"org.dsud1.Error.Blocked",
	"patches",
	"threads",
	"frames",
	"address",
	"replacement",
	"name",
	"state",
	"active",
	"phases",
	"\n",
	"\033[31m",
	"\xc2\x9b",
	"\xe2\x80\xae",
	"\xef\xbb\xbf",
	"\xf0\x9f\x92\xa3",
	"%s%n",
	"a\tb",
	"id",
	"version",
	"held_ns",
	"tid",
	"frame",
	"reliable",
};
#define N_WORDS (sizeof(words) / sizeof(words[0]))

/* A word of the table, or as many bytes as the first says, none of which D-Bus would refuse. */
static void take_text(struct source *source, char text[static 256])
{
	uint8_t n = take(source);

	if (n < N_WORDS) {
		strcpy(text, words[n]);
		return;
	}
	n = (uint8_t)(n - N_WORDS);
	for (size_t i = 0; i < n; i++) {
		uint8_t byte = take(source);

		text[i] = (char)(byte == 0 ? ' ' : byte & 0x7f ? byte & 0x7f : '?');
	}
	text[n] = '\0';
}

static int append_basic(sd_bus_message *message, struct source *source, char type)
{
	union {
		uint64_t number;
		uint32_t boolean;
		int fd;
		double real;
	} value = {.number = 0};
	char text[256];

	switch (type) {
	case 's':
		take_text(source, text);
		return sd_bus_message_append_basic(message, type, text);
	case 'o':
		return sd_bus_message_append_basic(message, type,
						   take(source) & 1 ? "/" : "/org/dsud1/update/1");
	case 'g':
		return sd_bus_message_append_basic(message, type, take(source) & 1 ? "" : "a{sv}");
	case 'h':
		value.fd = source->fd;
		break;
	case 'b':
		value.boolean = take(source) & 1;
		break;
	default:
		value.number = take_number(source);
	}
	return sd_bus_message_append_basic(message, type, &value);
}

/* Length of the first complete type. */
static size_t type_length(const char *types)
{
	size_t n = 0;
	int open = 0;

	do {
		while (types[n] == 'a')
			n++;
		open += types[n] == '(' || types[n] == '{';
		open -= types[n] == ')' || types[n] == '}';
		n++;
	} while (open > 0);
	return n;
}

static int append_types(sd_bus_message *message, struct source *source, const char *types,
			unsigned depth);

static int append_inside(sd_bus_message *message, struct source *source, char container,
			 const char *contents, unsigned depth)
{
	int r = sd_bus_message_open_container(message, container, contents);

	if (r >= 0)
		r = append_types(message, source, contents, depth - 1);
	return r < 0 ? r : sd_bus_message_close_container(message);
}

static int append_array(sd_bus_message *message, struct source *source, const char *element,
			unsigned depth)
{
	int r = sd_bus_message_open_container(message, 'a', element);

	for (uint8_t n = take(source); r >= 0 && n > 0 && source->n_items < MAX_ITEMS; n--) {
		source->n_items++;
		r = append_types(message, source, element, depth - 1);
	}
	return r < 0 ? r : sd_bus_message_close_container(message);
}

static int append_variant(sd_bus_message *message, struct source *source, unsigned depth)
{
	static const char *const kinds[] = {
		"s",	  "t",	   "u",	   "b",	    "i",   "x",	    "d",	"y",  "n",
		"q",	  "o",	   "g",	   "h",	    "v",   "as",    "au",	"ay", "a{sv}",
		"aa{sv}", "a{st}", "(ss)", "a(ss)", "aas", "a{uv}", "a{s(sv)}", "av", "(v(v))",
	};
	/* Nothing deep grows here any more. */
	const char *kind =
		depth <= 3 ? "s" : kinds[take(source) % (sizeof(kinds) / sizeof(kinds[0]))];

	return append_inside(message, source, 'v', kind, depth);
}

static int append_one(sd_bus_message *message, struct source *source, const char *type,
		      size_t length, unsigned depth)
{
	char inside[64];

	if (depth == 0 || length >= sizeof(inside))
		return -E2BIG;
	if (type[0] == 'v')
		return append_variant(message, source, depth);
	if (length == 1)
		return append_basic(message, source, type[0]);
	memcpy(inside, type + 1, length - 1);
	if (type[0] == 'a') {
		inside[length - 1] = '\0';
		return append_array(message, source, inside, depth);
	}
	inside[length - 2] = '\0';
	return append_inside(message, source, type[0] == '(' ? 'r' : 'e', inside, depth);
}

static int append_types(sd_bus_message *message, struct source *source, const char *types,
			unsigned depth)
{
	int r = 0;

	while (r >= 0 && *types) {
		size_t length = type_length(types);

		r = append_one(message, source, types, length, depth);
		types += length;
	}
	return r;
}

/* Messages belong to a connection; this one never gets beyond its first words. */
static sd_bus *connection(void)
{
	static sd_bus *bus;
	int ends[2];

	if (bus)
		return bus;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 || sd_bus_new(&bus) < 0 ||
	    sd_bus_set_fd(bus, ends[0], ends[0]) < 0 || sd_bus_start(bus) < 0)
		abort();
	return bus;
}

sd_bus_message *make_message(const uint8_t *bytes, size_t length, const char *types, int fd)
{
	struct source source = {bytes, length, 0, fd};
	sd_bus_message *message = NULL;
	int r = sd_bus_message_new_method_call(connection(), &message, "org.dsud1", "/org/dsud1",
					       "org.dsud1.Manager", "Any");

	if (r < 0)
		abort();
	r = append_types(message, &source, types, MAX_DEPTH);
	if (r >= 0)
		r = sd_bus_message_seal(message, 1, 0);
	if (r >= 0)
		r = sd_bus_message_rewind(message, 1);
	if (r >= 0)
		return message;
	sd_bus_message_unref(message);
	return NULL;
}
