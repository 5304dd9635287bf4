/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_REPORT_H
#define UPD_REPORT_H

#include "injector/base/why.h"

/*
 * What an update did, or what a question found: the one structure that travels from the worker to the daemon and from
 * there, field by field, to the bus and into JSON. Strings are owned, printable UTF-8, never NULL after upd_report_*_new.
 */
enum upd_result {
	UPD_APPLIED = 1,
	UPD_REVERTED = 2,
	UPD_UNCHANGED = 3, /* check: would be done */
	UPD_REFUSED = 4,
	UPD_BLOCKED = 5,
	UPD_FAILED = 6,
	UPD_GONE = 7,
};

struct upd_function {
	char *module;
	char *build_id;    /* hex, "" when the module has none */
	char *name;        /* the old function */
	char *new_name;
	inj_addr address;
	inj_addr replacement; /* 0 when it was not placed */
	bool via_jump;     /* "jump" instead of "stub" */
};

struct upd_blocker {
	pid_t tid;
	char *comm;
	char *function;
	unsigned frame;
	inj_addr address;
	bool reliable;
};

/* One patch that a process carries (status). */
struct upd_patch_state {
	char *id;
	char *version;
	char *digest;
	char *state;           /* active, transitioning, reverted, staged */
	uint64_t applied_at_ns; /* CLOCK_REALTIME; 0 unknown */
	char *protocol;
	struct upd_function *functions;
	size_t n_functions;
};

struct upd_frame {
	inj_addr address;
	char *function;    /* "" unknown */
	uint64_t offset;   /* from the function's start */
	char *module;
	char *mark;        /* "", "patched" (old code of a replaced function), "replacement" (new code), "stub" */
};

struct upd_thread {
	pid_t tid;
	char *comm;
	bool reliable;
	struct upd_frame *frames;
	size_t n_frames;
};

struct upd_phase {
	char *name;        /* read plan stage link install decide commit settle */
	uint64_t ns;
};

struct upd_target {
	pid_t pid;
	char *comm;
	char *exe;
	char *patch;       /* id, "" unknown */
	char *patch_version;
	char *protocol;
	enum upd_result result;
	unsigned attempts;
	uint64_t held_ns;  /* longest time that all threads were held, over all attempts */
	uint64_t total_ns;
	unsigned n_threads;
	int code;          /* enum inj_code, 0 when all is well */
	char *message;     /* "" when all is well */
	char **notes;      /* warnings that do not stop anything */
	size_t n_notes;
	struct upd_function *functions;
	size_t n_functions;
	struct upd_blocker *blockers;
	size_t n_blockers;
	struct upd_phase *phases;
	size_t n_phases;
	struct upd_patch_state *patches; /* status and adopt */
	size_t n_patches;
	struct upd_thread *threads;      /* stacks */
	size_t n_threads_listed;
};

struct upd_report {
	struct upd_target *targets;
	size_t n_targets;
};

/* Add one target with empty strings; NULL when out of memory. The pointer is valid until the next add. */
struct upd_target *upd_report_add(struct upd_report *report, pid_t pid);
void upd_report_deinit(struct upd_report *report);
/* Word of the contract for a result ("applied", ...). */
const char *upd_result_word(enum upd_result result);

/*
 * Flat bytes for the worker's socket. encode: malloc'ed. decode: hostile input; every count and length is checked and bounded
 * (4096 targets, 16384 functions, 4096 blockers, 65536 threads, 256 frames each, strings 4 KiB), -EBADMSG otherwise, and strings are made printable.
 */
int upd_report_encode(const struct upd_report *report, void **ret_bytes, size_t *ret_length);
int upd_report_decode(const void *bytes, size_t length, struct upd_report *ret);

#endif
