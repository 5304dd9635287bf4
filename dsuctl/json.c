/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Documents: what came over the bus, or out of a patch file, as JSON. All of dsuctl prints from
 * these documents, tables included, so people and scripts are told the same. Every string that
 * enters is printable afterwards; that is decided here and nowhere else. A message that is nested
 * too deep or has types outside the contract is refused.
 */
#include "dsuctl/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "injector/base/types.h"
#include "injector/base/why.h"

/* Members that hold an address of the target, whatever integer type carries them. */
static const char *const address_keys[] = {"address", "replacement"};

static bool is_address_key(const char *key)
{
	for (size_t i = 0; key && i < INJ_ARRAY_LENGTH(address_keys); i++)
		if (strcmp(key, address_keys[i]) == 0)
			return true;
	return false;
}

json_t *ctl_json_text(const char *text)
{
	INJ_FREE char *copy = strdup(text ? text : "");

	if (!copy)
		return NULL;
	inj_printable(copy);
	return json_string(copy);
}

json_t *ctl_json_address(uint64_t address)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%" PRIx64, address);
	return json_string(text);
}

static int take(json_t *value, json_t **ret)
{
	if (!value)
		return -ENOMEM;
	*ret = value;
	return 0;
}

static int unsigned_value(uint64_t number, const char *key, json_t **ret)
{
	if (is_address_key(key))
		return take(ctl_json_address(number), ret);
	/* "For ever" is the only number that large; jansson's integers are signed. */
	return take(json_integer(number > INT64_MAX ? INT64_MAX : (json_int_t)number), ret);
}

static int basic_value(sd_bus_message *message, char type, const char *key, json_t **ret)
{
	union {
		uint8_t byte;
		int boolean;
		int16_t i16;
		uint16_t u16;
		int32_t i32;
		uint32_t u32;
		int64_t i64;
		uint64_t u64;
		double real;
		const char *text;
	} value;
	int r = sd_bus_message_read_basic(message, type, &value);

	if (r < 0)
		return r;
	if (r == 0)
		return -EBADMSG;
	switch (type) {
	case SD_BUS_TYPE_BYTE:
		return unsigned_value(value.byte, key, ret);
	case SD_BUS_TYPE_BOOLEAN:
		return take(json_boolean(value.boolean), ret);
	case SD_BUS_TYPE_INT16:
		return take(json_integer(value.i16), ret);
	case SD_BUS_TYPE_UINT16:
		return unsigned_value(value.u16, key, ret);
	case SD_BUS_TYPE_INT32:
		return take(json_integer(value.i32), ret);
	case SD_BUS_TYPE_UINT32:
		return unsigned_value(value.u32, key, ret);
	case SD_BUS_TYPE_INT64:
		return take(json_integer(value.i64), ret);
	case SD_BUS_TYPE_UINT64:
		return unsigned_value(value.u64, key, ret);
	case SD_BUS_TYPE_DOUBLE:
		return isfinite(value.real) ? take(json_real(value.real), ret) : -ERANGE;
	case SD_BUS_TYPE_STRING:
	case SD_BUS_TYPE_OBJECT_PATH:
	case SD_BUS_TYPE_SIGNATURE:
		return take(ctl_json_text(value.text), ret);
	default:
		return -EBADMSG;
	}
}

static int value_at(sd_bus_message *message, const char *key, unsigned depth, json_t **ret);

static int entry(sd_bus_message *message, const char *contents, unsigned depth, json_t *object)
{
	INJ_FREE char *key = NULL;
	const char *raw;
	json_t *value;
	int r;

	r = sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, contents);
	if (r < 0)
		return r;
	r = sd_bus_message_read_basic(message, SD_BUS_TYPE_STRING, &raw);
	if (r < 0)
		return r;
	key = strdup(raw);
	if (!key)
		return -ENOMEM;
	inj_printable(key);
	r = value_at(message, key, depth, &value);
	if (r < 0)
		return r;
	if (json_object_set_new(object, key, value) < 0)
		return -ENOMEM;
	return sd_bus_message_exit_container(message);
}

static int item(sd_bus_message *message, unsigned depth, json_t *array)
{
	json_t *value;
	int r = value_at(message, NULL, depth, &value);

	if (r < 0)
		return r;
	return json_array_append_new(array, value) < 0 ? -ENOMEM : 0;
}

static int array_value(sd_bus_message *message, const char *contents, unsigned depth, json_t **ret)
{
	bool is_object = contents[0] == SD_BUS_TYPE_DICT_ENTRY_BEGIN;
	CTL_JSON json_t *array = is_object ? json_object() : json_array();
	size_t length = strlen(contents);
	char inside[256] = "";
	int r;

	if (!array)
		return -ENOMEM;
	/* A D-Bus signature has at most 255 bytes; the entry's own contents lack the braces. */
	if (length >= sizeof(inside) || (is_object && (length < 4 || contents[1] != 's')))
		return -EBADMSG;
	if (is_object)
		memcpy(inside, contents + 1, length - 2);
	r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, contents);
	if (r < 0)
		return r;
	while ((r = sd_bus_message_at_end(message, 0)) == 0) {
		r = is_object ? entry(message, inside, depth, array)
			      : item(message, depth, array);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	r = sd_bus_message_exit_container(message);
	if (r < 0)
		return r;
	*ret = INJ_TAKE(array);
	return 0;
}

static int struct_value(sd_bus_message *message, const char *contents, unsigned depth, json_t **ret)
{
	CTL_JSON json_t *array = json_array();
	int r;

	if (!array)
		return -ENOMEM;
	r = sd_bus_message_enter_container(message, SD_BUS_TYPE_STRUCT, contents);
	if (r < 0)
		return r;
	while ((r = sd_bus_message_at_end(message, 0)) == 0) {
		r = item(message, depth, array);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	r = sd_bus_message_exit_container(message);
	if (r < 0)
		return r;
	*ret = INJ_TAKE(array);
	return 0;
}

static int variant_value(sd_bus_message *message, const char *contents, const char *key,
			 unsigned depth, json_t **ret)
{
	CTL_JSON json_t *value = NULL;
	int r;

	r = sd_bus_message_enter_container(message, SD_BUS_TYPE_VARIANT, contents);
	if (r < 0)
		return r;
	r = value_at(message, key, depth, &value);
	if (r < 0)
		return r;
	r = sd_bus_message_exit_container(message);
	if (r < 0)
		return r;
	*ret = INJ_TAKE(value);
	return 0;
}

/* The depth is bounded here, so recursion is too, whatever the peer sends. */
static int value_at(sd_bus_message *message, const char *key, unsigned depth, json_t **ret)
{
	const char *contents;
	char type;
	int r;

	if (depth == 0)
		return -EBADMSG;
	r = sd_bus_message_peek_type(message, &type, &contents);
	if (r < 0)
		return r;
	if (r == 0)
		return -EBADMSG;
	switch (type) {
	case SD_BUS_TYPE_VARIANT:
		return variant_value(message, contents, key, depth - 1, ret);
	case SD_BUS_TYPE_ARRAY:
		return array_value(message, contents, depth - 1, ret);
	case SD_BUS_TYPE_STRUCT:
		return struct_value(message, contents, depth - 1, ret);
	default:
		return basic_value(message, type, key, ret);
	}
}

int ctl_json_from_message(sd_bus_message *message, const char *contents, json_t **ret)
{
	int r = sd_bus_message_verify_type(message, contents[0], contents[1] ? contents + 1 : NULL);

	if (r < 0)
		return r;
	if (r == 0)
		return -EBADMSG;
	return value_at(message, NULL, CTL_JSON_DEPTH_MAX, ret);
}

int ctl_json_print(FILE *stream, enum ctl_json_mode mode, const json_t *document)
{
	size_t flags = mode == CTL_JSON_PRETTY ? JSON_INDENT(2) : JSON_COMPACT;

	if (isatty(fileno(stream)))
		flags |= JSON_ENSURE_ASCII;
	if (json_dumpf(document, stream, flags) < 0 || fputc('\n', stream) == EOF)
		return -EIO;
	return fflush(stream) == EOF ? -EIO : 0;
}

const char *ctl_json_get_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

uint64_t ctl_json_get_number(const json_t *object, const char *key)
{
	json_int_t number = json_integer_value(json_object_get(object, key));

	return number > 0 ? (uint64_t)number : 0;
}
