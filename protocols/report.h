/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_REPORT_H
#define UPD_REPORT_H

#include "injector/base/why.h"

/*
 * What an update did, or what a question found: the one structure that travels from the worker
 * to the daemon and from there, field by field, to the bus and into JSON. Strings are owned,
 * printable UTF-8, never NULL after upd_report_add().
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

/* Bounds of the encoded form; a report beyond them is neither encoded nor decoded. */
#define UPD_REPORT_MAX_BYTES (64u << 20)
#define UPD_REPORT_MAX_TARGETS 4096
#define UPD_REPORT_MAX_FUNCTIONS 16384
#define UPD_REPORT_MAX_BLOCKERS 4096
#define UPD_REPORT_MAX_THREADS 65536
#define UPD_REPORT_MAX_FRAMES 256
#define UPD_REPORT_MAX_PATCHES 1024
#define UPD_REPORT_MAX_PHASES 64
#define UPD_REPORT_MAX_NOTES 1024
#define UPD_REPORT_MAX_STRING 4096

struct upd_function {
	char *module;
	char *build_id; /* hex, "" when the module has none */
	char *name;     /* the old function */
	char *new_name;
	inj_addr address;
	inj_addr replacement; /* 0 when it was not placed */
	bool via_jump;        /* "jump" instead of "stub" */
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
	char *state;            /* active, transitioning, reverted, staged */
	uint64_t applied_at_ns; /* CLOCK_REALTIME; 0 unknown */
	char *protocol;
	struct upd_function *functions;
	size_t n_functions;
};

struct upd_frame {
	inj_addr address;
	char *function;  /* "" unknown */
	uint64_t offset; /* bytes from the function's start */
	char *module;
	char *mark;      /* "", "patched" (old code of what is replaced), "replacement", "stub" */
};

struct upd_thread {
	pid_t tid;
	char *comm;
	bool reliable;
	struct upd_frame *frames;
	size_t n_frames;
};

struct upd_phase {
	char *name; /* read plan stage link install decide commit settle */
	uint64_t ns;
};

struct upd_target {
	pid_t pid;
	char *comm;
	char *exe;
	char *patch; /* id, "" unknown */
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
	bool unsettled;    /* something of the update may be left that only a recovery puts right */
};

/* Starts as { 0 }. */
struct upd_report {
	struct upd_target *targets;
	size_t n_targets;
};

/*
 * Add one target with empty strings and no outcome yet.
 * report: grows by one; pid: of the target.
 * State: none.
 * Return: the new target, valid until the next add.
 * Errors: NULL when out of memory; the report is as it was.
 */
struct upd_target *upd_report_add(struct upd_report *report, pid_t pid);

/*
 * Drop the last patches of a target.
 * n: so many stay; nothing happens when there are no more.
 * State: none. Return: nothing. Errors: none.
 */
void upd_report_keep_patches(struct upd_target *target, size_t n);

/*
 * Free everything below a report and leave it empty; NULL and half-filled ones are fine.
 */
void upd_report_deinit(struct upd_report *report);
#define UPD_REPORT_CLEAN __attribute__((cleanup(upd_report_deinit)))

/*
 * Word of the contract for a result.
 * Return: "applied", "reverted", ...; "failed" for anything that is no result.
 */
const char *upd_result_word(enum upd_result result);

/*
 * Flatten a report into bytes for the worker's socket.
 * report: any; NULL strings count as empty, strings beyond UPD_REPORT_MAX_STRING are cut at a
 * character; ret_bytes: malloc'ed, the caller's; ret_length: in bytes.
 * State: none.
 * Return: 0.
 * Errors: -E2BIG when a table or the whole is beyond its bound; -ENOMEM.
 */
int upd_report_encode(const struct upd_report *report, void **ret_bytes, size_t *ret_length);

/*
 * Read a report back from hostile bytes. Every count, length and enumerator is checked, nothing
 * is allocated for elements that the bytes cannot hold, and strings are made printable.
 * bytes, length: borrowed; ret: overwritten, free with upd_report_deinit().
 * State: none.
 * Return: 0 when the bytes are exactly one report.
 * Errors: -EBADMSG, -ENOMEM; ret stays untouched.
 */
int upd_report_decode(const void *bytes, size_t length, struct upd_report *ret);

#endif
