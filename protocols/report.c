/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the report: its memory, its words and its flat form. Tables describe every structure of
 * report.h once; freeing, encoding and decoding walk the same tables, so they cannot disagree.
 * Always holds: decoded strings are NUL-terminated and printable, decoded enumerators are known,
 * and the memory that bytes can make us allocate is a small multiple of their length. The walk
 * recurses over our own tables, at most three deep, never over what the bytes say.
 * Refuses: tables beyond the bounds of report.h, strings with NUL inside, trailing bytes.
 */
#include <string.h>

#include "injector/base/cleanup.h"
#include "protocols/report.h"

#define REPORT_MAGIC 0x31505244u /* "DRP1" */

enum field_kind {
	FIELD_STRING,
	FIELD_U32,
	FIELD_U64,
	FIELD_BOOL,
	FIELD_RESULT,
	FIELD_PID,
	FIELD_ARRAY,
};

struct layout;

struct field {
	enum field_kind kind;
	size_t offset;
	size_t count_offset;          /* arrays */
	const struct layout *element; /* arrays */
	size_t limit;                 /* arrays: elements */
};

struct layout {
	size_t bytes; /* in memory */
	const struct field *fields;
	size_t n_fields;
};

#define ONE(type, member, what) {.kind = (what), .offset = offsetof(type, member)}
#define MANY(type, member, count, of, most)                                              \
	{.kind = FIELD_ARRAY,                                                            \
	 .offset = offsetof(type, member),                                               \
	 .count_offset = offsetof(type, count),                                          \
	 .element = &(of),                                                               \
	 .limit = (most)}
#define LAYOUT(type, table)                                                              \
	{                                                                                \
		sizeof(type), (table), INJ_ARRAY_LENGTH(table)                           \
	}

static const struct field note_fields[] = {{.kind = FIELD_STRING, .offset = 0}};
static const struct layout note_layout = LAYOUT(char *, note_fields);

static const struct field function_fields[] = {
	ONE(struct upd_function, module, FIELD_STRING),
	ONE(struct upd_function, build_id, FIELD_STRING),
	ONE(struct upd_function, name, FIELD_STRING),
	ONE(struct upd_function, new_name, FIELD_STRING),
	ONE(struct upd_function, address, FIELD_U64),
	ONE(struct upd_function, replacement, FIELD_U64),
	ONE(struct upd_function, via_jump, FIELD_BOOL),
};
static const struct layout function_layout = LAYOUT(struct upd_function, function_fields);

static const struct field blocker_fields[] = {
	ONE(struct upd_blocker, tid, FIELD_PID),
	ONE(struct upd_blocker, comm, FIELD_STRING),
	ONE(struct upd_blocker, function, FIELD_STRING),
	ONE(struct upd_blocker, frame, FIELD_U32),
	ONE(struct upd_blocker, address, FIELD_U64),
	ONE(struct upd_blocker, reliable, FIELD_BOOL),
};
static const struct layout blocker_layout = LAYOUT(struct upd_blocker, blocker_fields);

static const struct field patch_fields[] = {
	ONE(struct upd_patch_state, id, FIELD_STRING),
	ONE(struct upd_patch_state, version, FIELD_STRING),
	ONE(struct upd_patch_state, digest, FIELD_STRING),
	ONE(struct upd_patch_state, state, FIELD_STRING),
	ONE(struct upd_patch_state, applied_at_ns, FIELD_U64),
	ONE(struct upd_patch_state, protocol, FIELD_STRING),
	MANY(struct upd_patch_state, functions, n_functions, function_layout,
	     UPD_REPORT_MAX_FUNCTIONS),
};
static const struct layout patch_layout = LAYOUT(struct upd_patch_state, patch_fields);

static const struct field frame_fields[] = {
	ONE(struct upd_frame, address, FIELD_U64),
	ONE(struct upd_frame, function, FIELD_STRING),
	ONE(struct upd_frame, offset, FIELD_U64),
	ONE(struct upd_frame, module, FIELD_STRING),
	ONE(struct upd_frame, mark, FIELD_STRING),
};
static const struct layout frame_layout = LAYOUT(struct upd_frame, frame_fields);

static const struct field thread_fields[] = {
	ONE(struct upd_thread, tid, FIELD_PID),
	ONE(struct upd_thread, comm, FIELD_STRING),
	ONE(struct upd_thread, reliable, FIELD_BOOL),
	MANY(struct upd_thread, frames, n_frames, frame_layout, UPD_REPORT_MAX_FRAMES),
};
static const struct layout thread_layout = LAYOUT(struct upd_thread, thread_fields);

static const struct field phase_fields[] = {
	ONE(struct upd_phase, name, FIELD_STRING),
	ONE(struct upd_phase, ns, FIELD_U64),
};
static const struct layout phase_layout = LAYOUT(struct upd_phase, phase_fields);

static const struct field target_fields[] = {
	ONE(struct upd_target, pid, FIELD_PID),
	ONE(struct upd_target, comm, FIELD_STRING),
	ONE(struct upd_target, exe, FIELD_STRING),
	ONE(struct upd_target, patch, FIELD_STRING),
	ONE(struct upd_target, patch_version, FIELD_STRING),
	ONE(struct upd_target, protocol, FIELD_STRING),
	ONE(struct upd_target, result, FIELD_RESULT),
	ONE(struct upd_target, attempts, FIELD_U32),
	ONE(struct upd_target, held_ns, FIELD_U64),
	ONE(struct upd_target, total_ns, FIELD_U64),
	ONE(struct upd_target, n_threads, FIELD_U32),
	ONE(struct upd_target, code, FIELD_U32),
	ONE(struct upd_target, message, FIELD_STRING),
	MANY(struct upd_target, notes, n_notes, note_layout, UPD_REPORT_MAX_NOTES),
	MANY(struct upd_target, functions, n_functions, function_layout, UPD_REPORT_MAX_FUNCTIONS),
	MANY(struct upd_target, blockers, n_blockers, blocker_layout, UPD_REPORT_MAX_BLOCKERS),
	MANY(struct upd_target, phases, n_phases, phase_layout, UPD_REPORT_MAX_PHASES),
	MANY(struct upd_target, patches, n_patches, patch_layout, UPD_REPORT_MAX_PATCHES),
	MANY(struct upd_target, threads, n_threads_listed, thread_layout, UPD_REPORT_MAX_THREADS),
	ONE(struct upd_target, unsettled, FIELD_BOOL),
};
static const struct layout target_layout = LAYOUT(struct upd_target, target_fields);

static const struct field report_fields[] = {
	MANY(struct upd_report, targets, n_targets, target_layout, UPD_REPORT_MAX_TARGETS),
};
static const struct layout report_layout = LAYOUT(struct upd_report, report_fields);

/* The tables store pids and enumerators as 32 bits. */
_Static_assert(sizeof(pid_t) == 4 && sizeof(enum upd_result) == 4 && sizeof(unsigned) == 4,
	       "fields of 32 bits");
_Static_assert(sizeof(inj_addr) == 8 && sizeof(size_t) == 8, "fields of 64 bits");

/* --- memory ------------------------------------------------------------------------------- */

/* Pointers to elements have many types: copied, never read through another type. */
static char *load_elements(const void *place)
{
	char *elements;

	memcpy(&elements, place, sizeof(elements));
	return elements;
}

static void clear_object(const struct layout *layout, void *object)
{
	for (size_t i = 0; i < layout->n_fields; i++) {
		const struct field *field = &layout->fields[i];
		char *place = (char *)object + field->offset;

		if (field->kind == FIELD_STRING) {
			free(*(char **)place);
		} else if (field->kind == FIELD_ARRAY) {
			size_t *count = (size_t *)((char *)object + field->count_offset);
			char *elements = load_elements(place);

			for (size_t n = 0; elements && n < *count; n++)
				clear_object(field->element, elements + n * field->element->bytes);
			free(elements);
		}
	}
	memset(object, 0, layout->bytes);
}

void upd_report_deinit(struct upd_report *report)
{
	if (report)
		clear_object(&report_layout, report);
}

void upd_report_keep_patches(struct upd_target *target, size_t n)
{
	while (target->n_patches > n)
		clear_object(&patch_layout, &target->patches[--target->n_patches]);
}

struct upd_target *upd_report_add(struct upd_report *report, pid_t pid)
{
	struct upd_target fresh = {.pid = pid};
	bool complete = true;

	for (size_t i = 0; i < target_layout.n_fields; i++) {
		if (target_fields[i].kind != FIELD_STRING)
			continue;
		char **place = (char **)((char *)&fresh + target_fields[i].offset);

		*place = strdup("");
		complete = complete && *place;
	}
	struct upd_target *grown = complete ? reallocarray(report->targets, report->n_targets + 1,
							   sizeof(*grown))
					    : NULL;

	if (!grown) {
		clear_object(&target_layout, &fresh);
		return NULL;
	}
	report->targets = grown;
	grown[report->n_targets] = fresh;
	return &grown[report->n_targets++];
}

const char *upd_result_word(enum upd_result result)
{
	static const char *const words[] = {
		[UPD_APPLIED] = "applied", [UPD_REVERTED] = "reverted",
		[UPD_UNCHANGED] = "unchanged", [UPD_REFUSED] = "refused",
		[UPD_BLOCKED] = "blocked", [UPD_FAILED] = "failed",
		[UPD_GONE] = "gone",
	};

	return result >= UPD_APPLIED && result <= UPD_GONE ? words[result] : "failed";
}

/* --- encoding ----------------------------------------------------------------------------- */

struct writer {
	char *bytes;
	size_t length;
	size_t room;
	int error; /* the first one; later writes do nothing */
};

static void put(struct writer *writer, const void *data, size_t length)
{
	if (writer->error)
		return;
	if (length > UPD_REPORT_MAX_BYTES - writer->length) {
		writer->error = -E2BIG;
		return;
	}
	if (length > writer->room - writer->length) {
		size_t room = 2 * (writer->length + length) + 256;
		char *grown = realloc(writer->bytes, room);

		if (!grown) {
			writer->error = -ENOMEM;
			return;
		}
		writer->bytes = grown;
		writer->room = room;
	}
	memcpy(writer->bytes + writer->length, data, length);
	writer->length += length;
}

static void put_u32(struct writer *writer, uint32_t value)
{
	put(writer, &value, sizeof(value));
}

static void put_string(struct writer *writer, const char *text)
{
	size_t length = text ? strlen(text) : 0;

	if (length > UPD_REPORT_MAX_STRING) {
		length = UPD_REPORT_MAX_STRING;
		while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	}
	put_u32(writer, (uint32_t)length);
	if (length > 0)
		put(writer, text, length);
}

static void put_object(struct writer *writer, const struct layout *layout, const void *object);

static void put_array(struct writer *writer, const struct field *field, const char *elements,
		      size_t count)
{
	if (count > field->limit) {
		writer->error = writer->error ?: -E2BIG;
		return;
	}
	put_u32(writer, (uint32_t)count);
	for (size_t i = 0; i < count && !writer->error; i++)
		put_object(writer, field->element, elements + i * field->element->bytes);
}

static void put_object(struct writer *writer, const struct layout *layout, const void *object)
{
	for (size_t i = 0; i < layout->n_fields; i++) {
		const struct field *field = &layout->fields[i];
		const char *place = (const char *)object + field->offset;

		switch (field->kind) {
		case FIELD_STRING:
			put_string(writer, *(char *const *)place);
			break;
		case FIELD_U32:
		case FIELD_RESULT:
		case FIELD_PID:
			put(writer, place, sizeof(uint32_t));
			break;
		case FIELD_U64:
			put(writer, place, sizeof(uint64_t));
			break;
		case FIELD_BOOL:
			put(writer, &(uint8_t){*(const bool *)place}, 1);
			break;
		case FIELD_ARRAY:
			put_array(writer, field, load_elements(place),
				  *(const size_t *)((const char *)object + field->count_offset));
			break;
		}
	}
}

int upd_report_encode(const struct upd_report *report, void **ret_bytes, size_t *ret_length)
{
	struct writer writer = {0};

	put_u32(&writer, REPORT_MAGIC);
	put_object(&writer, &report_layout, report);
	if (writer.error) {
		free(writer.bytes);
		return writer.error;
	}
	*ret_bytes = writer.bytes;
	*ret_length = writer.length;
	return 0;
}

/* --- decoding ----------------------------------------------------------------------------- */

struct reader {
	const char *bytes;
	size_t left;
	int error; /* the first one; later reads give zeros */
};

static void take(struct reader *reader, void *data, size_t length)
{
	if (!reader->error && length > reader->left)
		reader->error = -EBADMSG;
	if (reader->error) {
		memset(data, 0, length);
		return;
	}
	memcpy(data, reader->bytes, length);
	reader->bytes += length;
	reader->left -= length;
}

static uint32_t take_u32(struct reader *reader)
{
	uint32_t value;

	take(reader, &value, sizeof(value));
	return value;
}

static void take_string(struct reader *reader, char **place)
{
	uint32_t length = take_u32(reader);

	if (!reader->error && (length > UPD_REPORT_MAX_STRING || length > reader->left))
		reader->error = -EBADMSG;
	if (reader->error)
		return;
	*place = malloc(length + 1);
	if (!*place) {
		reader->error = -ENOMEM;
		return;
	}
	take(reader, *place, length);
	(*place)[length] = '\0';
	if (memchr(*place, '\0', length))
		reader->error = -EBADMSG;
	else
		inj_printable(*place);
}

static bool number_is_lawful(enum field_kind kind, uint32_t value)
{
	switch (kind) {
	case FIELD_RESULT:
		return value <= UPD_GONE;
	case FIELD_PID:
		return value <= INT32_MAX;
	default:
		return true;
	}
}

static void take_number(struct reader *reader, enum field_kind kind, char *place)
{
	uint32_t value = take_u32(reader);

	if (!number_is_lawful(kind, value))
		reader->error = reader->error ?: -EBADMSG;
	else
		memcpy(place, &value, sizeof(value));
}

static void take_bool(struct reader *reader, bool *place)
{
	uint8_t value;

	take(reader, &value, 1);
	if (value > 1)
		reader->error = reader->error ?: -EBADMSG;
	*place = value == 1;
}

/* Bytes that one element needs at least: what keeps a count from promising more than is there. */
static size_t fewest_bytes(const struct layout *layout)
{
	static const size_t bytes[] = {
		[FIELD_STRING] = 4, [FIELD_U32] = 4, [FIELD_U64] = 8, [FIELD_BOOL] = 1,
		[FIELD_RESULT] = 4, [FIELD_PID] = 4, [FIELD_ARRAY] = 4,
	};
	size_t sum = 0;

	for (size_t i = 0; i < layout->n_fields; i++)
		sum += bytes[layout->fields[i].kind];
	return sum;
}

static void take_object(struct reader *reader, const struct layout *layout, void *object);

static void take_array(struct reader *reader, const struct field *field, char *place,
		       size_t *ret_count)
{
	uint32_t count = take_u32(reader);

	if (!reader->error &&
	    (count > field->limit || count > reader->left / fewest_bytes(field->element)))
		reader->error = -EBADMSG;
	if (reader->error || count == 0)
		return;
	char *elements = calloc(count, field->element->bytes);

	if (!elements) {
		reader->error = -ENOMEM;
		return;
	}
	memcpy(place, &elements, sizeof(elements));
	*ret_count = count;
	for (uint32_t i = 0; i < count && !reader->error; i++)
		take_object(reader, field->element, elements + i * field->element->bytes);
}

static void take_object(struct reader *reader, const struct layout *layout, void *object)
{
	for (size_t i = 0; i < layout->n_fields && !reader->error; i++) {
		const struct field *field = &layout->fields[i];
		char *place = (char *)object + field->offset;

		switch (field->kind) {
		case FIELD_STRING:
			take_string(reader, (char **)place);
			break;
		case FIELD_U32:
		case FIELD_RESULT:
		case FIELD_PID:
			take_number(reader, field->kind, place);
			break;
		case FIELD_U64:
			take(reader, place, sizeof(uint64_t));
			break;
		case FIELD_BOOL:
			take_bool(reader, (bool *)place);
			break;
		case FIELD_ARRAY:
			take_array(reader, field, place,
				   (size_t *)((char *)object + field->count_offset));
			break;
		}
	}
}

int upd_report_decode(const void *bytes, size_t length, struct upd_report *ret)
{
	struct reader reader = {.bytes = bytes, .left = length};
	UPD_REPORT_CLEAN struct upd_report report = {0};

	if (length > UPD_REPORT_MAX_BYTES || take_u32(&reader) != REPORT_MAGIC)
		return -EBADMSG;
	take_object(&reader, &report_layout, &report);
	if (reader.error)
		return reader.error;
	if (reader.left != 0)
		return -EBADMSG;
	*ret = report;
	report = (struct upd_report){0};
	return 0;
}
