/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_READER_PRIV_H
#define UPD_READER_PRIV_H

#include <sys/user.h>

#include "injector/stop/tracer.h"
#include "protocols/reader.h"
#include "protocols/subject.h"

/* Layouts of questions and answers. Both ends are one program, so only what the reader sends is
 * hostile. */

struct upd_patch_head {
	char id[INJ_PATCH_ID_MAX];
	char version[INJ_PATCH_ID_MAX];
};

struct upd_ask_attach {
	int32_t pid, ns_pid;
	uint64_t start_ticks;
	char comm[64];
	char exe[4096];
};

struct upd_tell_unwinder {
	uint64_t tell, forget;
	struct inj_range locked[UPD_N_LOCKED];
	uint64_t may_unwind;
};

struct upd_ask_plan {
	uint8_t update_id[16];
	uint32_t n_members;
	char protocol[64];
};

/* Where a thread waits: enough to walk its stack in advance. */
struct upd_ask_place {
	uint64_t pc, sp;
};

struct upd_ask_walk {
	uint32_t n_threads, n_watches, n_pads;
	uint32_t is_forgotten; /* stubs stand for nothing any more */
	uint64_t budget_ns;
	uint64_t max; /* frames, or bytes of a stack */
	/* then: struct upd_ask_thread, struct upd_ask_watch, struct upd_code_pad */
};

struct upd_ask_thread {
	struct user_regs_struct regs;
	int32_t tid;
	uint32_t in_syscall;
};

struct upd_ask_watch {
	struct inj_range code;
	uint32_t tag, entry_is_free;
};

/* Answer to UPD_ASK_PREPARE: then n_trampolines ranges and n_known of these. */
struct upd_tell_prepared {
	uint32_t n_trampolines, n_known;
};
struct upd_tell_known {
	struct inj_range code;
	uint64_t is_odd;
};

struct upd_tell_found {
	uint32_t n_hits, n_known;
	uint64_t n_scanned, n_walked, n_unreliable;
	/* then: struct upd_tell_hit, struct upd_tell_known */
};
struct upd_tell_hit {
	int32_t tid;
	uint32_t tag, frame, reliable;
	uint64_t address, slot;
};

struct upd_tell_stack {
	uint32_t n_frames, reliable;
};
struct upd_tell_frame {
	uint64_t pc, cfa, is_call;
};

struct upd_tell_refused {
	int32_t code;
	int32_t err;
	int32_t tid;
	int32_t reserved;
	uint64_t address;
	char text[768];
};

struct upd_give {
	int64_t result;
};

/* The child's life. */
_Noreturn void upd_reader_main(int socket, int patch_fd, const char *patch_name);

/* Reader: a door whose context is the socket. */
void upd_door_init(struct inj_door *door, int *socket, int mem_fd);

/* Reader: answers, one each; on failure the reader has no more to say. */
struct upd_reading {
	int socket;
	int patch_fd;
	const char *patch_name;
	struct inj_patch *patch;
	struct inj_door door;
	struct inj_process process;
	struct upd_subject subject;
	struct upd_parcel answer;
	struct inj_why why;
};
/* Return: 0 with an answer, or a refusal with why. */
int upd_reading_prepare(struct upd_reading *reading, struct upd_cursor *question);
int upd_reading_find(struct upd_reading *reading, struct upd_cursor *question);
int upd_reading_stack(struct upd_reading *reading, struct upd_cursor *question);
int upd_reading_handles(struct upd_reading *reading, struct upd_cursor *question);
int upd_reading_snapshot(struct upd_reading *reading, struct upd_cursor *question);
int upd_reading_names(struct upd_reading *reading, struct upd_cursor *question);
/* Read maps and ledgers anew, and the modules once. */
int upd_reading_refresh(struct upd_reading *reading);

/* Reader: a misdeed, when a test asked for one. */
#ifdef DSU_FAULT_POINTS
void upd_reader_misdeed(struct upd_reading *reading, uint32_t question);
#else
static inline void upd_reader_misdeed(struct upd_reading *reading, uint32_t question)
{
}
#endif

/* Worker: what is opened for a reader. */
struct upd_broker {
	const struct inj_process *process; /* borrowed; NULL before it is attached */
	struct inj_maps *maps;             /* as the reader was told them */
	bool may_open_files;               /* nothing is held that would have to wait */
};
void upd_broker_deinit(struct upd_broker *broker);
/* Answer a UPD_WANT_... Return: 0; negative errno: nothing can be said to the reader any more. */
int upd_broker_answer(struct upd_broker *broker, int socket, const struct upd_message *want,
		      const struct upd_patience *patience);

#endif
