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
 * why: filled, may be NULL; an earlier story in it is overwritten.
 * code: positive code; format: printf-like sentence, control characters in the result become '?'.
 * Return: code, so that callers write `return inj_refuse(...)`.
 */
int inj_refuse(struct inj_why *why, enum inj_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Record that the world broke.
 * negative_errno: e.g. -EIO; the sentence gets ": <strerror>" appended.
 * Return: negative_errno. ESRCH is recorded with code INJ_PROCESS_GONE, all else INJ_INTERNAL.
 */
int inj_broke(struct inj_why *why, int negative_errno, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Append a second story ("; moreover: …") when undoing failed too; keeps code and err. */
void inj_why_append(struct inj_why *why, const struct inj_why *other);

/* Name on the bus without prefix ("Blocked"), or "Internal" for what is not a code. */
const char *inj_code_bus_name(int code);
/* Short text of the code. */
const char *inj_code_text(int code);
/* Code for a bus name without prefix; INJ_INTERNAL when unknown. */
int inj_code_from_bus_name(const char *name);

/* Replace, in place, all control characters and invalid UTF-8 by '?'. */
void inj_printable(char *text);

#endif
