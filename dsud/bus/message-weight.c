/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the measure of foreign messages: what it costs to keep one. Always holds: the walk is as
 * long as the limit allows, whatever the message nests or repeats.
 */
#include <stdint.h>
#include <string.h>

#include "dsud/bus/callers.h"

/* Anything has its price, so that nothing can be repeated for free. */
#define ITEM_WEIGHT 8

static bool is_flat(char type)
{
	return type != '\0' && strchr("ybnqiuxtd", type);
}

/* One value that holds no others. */
static int weigh_basic(sd_bus_message *message, char type, size_t *weight)
{
	union {
		const char *text;
		uint64_t number;
	} value;
	int r = sd_bus_message_read_basic(message, type, &value);

	if (r >= 0 && strchr("sog", type))
		*weight += strlen(value.text);
	return r;
}

/* A list of numbers is one block; anything else is entered. */
static int weigh_container(sd_bus_message *message, char type, const char *contents, size_t *weight,
			   unsigned *depth)
{
	const void *block;
	size_t bytes = 0;
	int r;

	if (type == SD_BUS_TYPE_ARRAY && is_flat(contents[0])) {
		r = sd_bus_message_read_array(message, contents[0], &block, &bytes);
		*weight += bytes;
		return r;
	}
	r = sd_bus_message_enter_container(message, type, contents);
	*depth += r >= 0;
	return r;
}

static int weigh(sd_bus_message *message, size_t limit, size_t *weight)
{
	const char *contents;
	unsigned depth = 0;
	char type;
	int r = 0;

	while (r >= 0 && *weight <= limit) {
		r = sd_bus_message_peek_type(message, &type, &contents);
		if (r < 0)
			break;
		if (r == 0 && depth == 0)
			return 0;
		*weight += ITEM_WEIGHT;
		if (r == 0) {
			r = sd_bus_message_exit_container(message);
			depth--;
		} else if (contents) {
			r = weigh_container(message, type, contents, weight, &depth);
		} else {
			r = weigh_basic(message, type, weight);
		}
	}
	return r;
}

size_t dsud_message_weight(sd_bus_message *message, size_t limit)
{
	size_t weight = 0;
	int r = sd_bus_message_rewind(message, 1);

	if (r >= 0)
		r = weigh(message, limit, &weight);
	if (r >= 0)
		r = sd_bus_message_rewind(message, 1);
	return r < 0 ? SIZE_MAX : weight;
}
