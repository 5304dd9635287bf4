/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_BASE_WHY_H
#define INJ_BASE_WHY_H

#include <sys/types.h>

#include "injector/base/types.h"

enum inj_code {
	INJ_OK = 0,
#define INJ_CODE(name, number, bus, text) INJ_##name = number,
#include "injector/base/codes.def"
#undef INJ_CODE
};

/*
 * The facts behind a refusal or a fault, filled once, where it was noticed. Storage belongs to
 * the caller; nothing allocates. Every function of the injector that takes a `why` fills it
 * whenever it returns non-zero (refusal: positive enum inj_code; fault: negative errno, with
 * code INJ_INTERNAL or a more telling one). `why` may be NULL.
 *
 * text is one complete sentence for a person: what, where, what to do next. It holds no
 * control characters: foreign names go through inj_printable() inside inj_refuse().
 */
struct inj_why {
	int code;         /* enum inj_code */
	int err;          /* errno of a fault, positive, or 0 */
	pid_t pid;        /* 0 when unknown */
	pid_t tid;        /* 0 when none */
	inj_addr address; /* 0 when none */
	char text[768];
};

/*
 * Record a refusal.
 * why: overwritten as a whole (set pid, tid and address afterwards), may be NULL; code: positive;
 *   format: printf-like sentence, its arguments may point into why.
 * State: any; nothing allocates.
 * Return: code, so that callers write `return inj_refuse(...)`.
 * Errors: none; what does not fit is cut and ends in "...".
 * Source: none.
 */
int inj_refuse(struct inj_why *why, enum inj_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Record that the world broke.
 * why, format: as for inj_refuse(); negative_errno: e.g. -EIO, its words are appended.
 * State: any; nothing allocates.
 * Return: negative_errno. -ESRCH is recorded with code INJ_PROCESS_GONE, all else INJ_INTERNAL.
 * Errors: none.
 * Source: errno(3).
 */
int inj_broke(struct inj_why *why, int negative_errno, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Append a second story ("; moreover: ...") when undoing failed too.
 * why: keeps code and err; other: borrowed; either may be NULL, then nothing happens.
 * State: any. Return: nothing. Errors: none. Source: none.
 */
void inj_why_append(struct inj_why *why, const struct inj_why *other);

/*
 * Name on the bus without prefix ("Blocked").
 * code: any. State: any. Return: "Internal" for what is no code. Errors: none.
 * Source: codes.def.
 */
const char *inj_code_bus_name(int code);

/* Short text of the code; all else as inj_code_bus_name(). */
const char *inj_code_text(int code);

/*
 * Code for a bus name without prefix.
 * name: may be NULL. State: any. Return: INJ_INTERNAL when unknown. Errors: none.
 * Source: codes.def.
 */
int inj_code_from_bus_name(const char *name);

/*
 * Replace, in place and byte by byte with '?', control characters, marks that turn the direction
 * of text, and what is not valid UTF-8.
 * text: NUL-terminated; its length does not change.
 * State: any. Return: nothing. Errors: none. Source: Unicode 15, table 3-7.
 */
void inj_printable(char *text);

#endif
