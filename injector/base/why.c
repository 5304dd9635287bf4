/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the story behind a refusal or a fault: how it is told, and the one table of codes.
 * Always holds: a text is NUL-terminated, free of control characters, valid UTF-8, and never
 * silently cut (a cut ends in "..."). Nothing allocates, so that running out of memory can be
 * told too. A story is formatted aside first: an argument may point into the old one.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "injector/base/why.h"

static const struct code_entry {
	int code;
	const char *bus_name;
	const char *text;
} code_table[] = {
#define INJ_CODE(name, number, bus, text) {INJ_##name, bus, text},
#include "injector/base/codes.def"
#undef INJ_CODE
};

/* Append to a story; what does not fit is cut and the cut is marked. */
static void append(char *text, size_t size, const char *addition)
{
	size_t used = strlen(text);
	size_t room = size - used;

	if (strlen(addition) < room) {
		strcpy(text + used, addition);
		return;
	}
	memcpy(text + used, addition, room - 1);
	text[size - 1] = '\0';
	/* Never leave half of a character before the dots. */
	size_t cut = size - 4;

	while (cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80)
		cut--;
	strcpy(text + cut, "...");
}

__attribute__((format(printf, 4, 0))) static void tell(struct inj_why *why, int code, int err,
						       const char *format, va_list arguments)
{
	/* Longer than a story, so that append() sees and marks what is cut. */
	char text[sizeof(why->text) + 8];
	int length = vsnprintf(text, sizeof(text), format, arguments);

	*why = (struct inj_why){.code = code, .err = err};
	append(why->text, sizeof(why->text), length < 0 ? "(no words for this)" : text);
}

int inj_refuse(struct inj_why *why, enum inj_code code, const char *format, ...)
{
	va_list arguments;

	if (!why)
		return code;
	va_start(arguments, format);
	tell(why, code, 0, format, arguments);
	va_end(arguments);
	inj_printable(why->text);
	return code;
}

int inj_broke(struct inj_why *why, int negative_errno, const char *format, ...)
{
	va_list arguments;

	if (!why)
		return negative_errno;
	va_start(arguments, format);
	tell(why, negative_errno == -ESRCH ? INJ_PROCESS_GONE : INJ_INTERNAL, -negative_errno,
	     format, arguments);
	va_end(arguments);

	/* Not strerror(): that one is neither thread safe nor independent of the locale. */
	const char *reason = strerrordesc_np(-negative_errno);

	append(why->text, sizeof(why->text), ": ");
	append(why->text, sizeof(why->text), reason ? reason : "unknown error");
	inj_printable(why->text);
	return negative_errno;
}

void inj_why_append(struct inj_why *why, const struct inj_why *other)
{
	if (!why || !other)
		return;
	append(why->text, sizeof(why->text), "; moreover: ");
	append(why->text, sizeof(why->text), other->text);
	inj_printable(why->text);
}

static const struct code_entry *find_code(int code)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(code_table); i++)
		if (code_table[i].code == code)
			return &code_table[i];
	return NULL;
}

const char *inj_code_bus_name(int code)
{
	const struct code_entry *entry = find_code(code);

	return entry ? entry->bus_name : "Internal";
}

const char *inj_code_text(int code)
{
	const struct code_entry *entry = find_code(code);

	return entry ? entry->text : "something failed that should not";
}

int inj_code_from_bus_name(const char *name)
{
	for (size_t i = 0; name && i < INJ_ARRAY_LENGTH(code_table); i++)
		if (strcmp(code_table[i].bus_name, name) == 0)
			return code_table[i].code;
	return INJ_INTERNAL;
}
