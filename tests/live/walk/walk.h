/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_LIVE_WALK_WALK_H
#define TESTS_LIVE_WALK_WALK_H

#include "injector/unwind/activity.h"
#include "tests/support/victim.h"

/* A victim of the program `stacks` with a walker made ready for it. */
struct subject {
	struct victim *victim;
	pid_t tid;		/* the thread in question */
	struct inj_watch watch; /* watched() */
	inj_addr live;		/* of the counter */
	struct inj_process *process;
	struct inj_maps *maps;
	struct inj_modules *modules;
	struct inj_walker *walker;
	struct inj_tracer *tracer;
	struct inj_hold *hold; /* while held */
};

/* main_thread: in question is the main thread. Everything that fails ends the test. */
struct subject *subject_new(const char *program, const char *mode, bool main_thread);
/* Any other victim with one argument; watched is a range in which no code is. */
struct subject *subject_new_of(const char *program, const char *argument);
void subject_free(struct subject *subject);
INJ_DEFINE_GUARD(struct subject *, subject_free, subject_guard)
#define SUBJECT INJ_CLEANUP(subject_guard) struct subject *

void subject_hold(struct subject *subject);
void subject_release(struct subject *subject);
/* Index of the thread in question in the hold. */
size_t subject_index(const struct subject *subject);
/* Hold, again and again, until the pc of the thread in question is in the range. */
void subject_hold_at(struct subject *subject, struct inj_range code);
/* The victim's own count of activations, read while it is held. */
long subject_live(const struct subject *subject);
/* inj_walker_find() for the one watch with a generous budget. */
struct inj_activity subject_find(struct subject *subject);

#endif
