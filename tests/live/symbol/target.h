/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_LIVE_SYMBOL_TARGET_H
#define TESTS_LIVE_SYMBOL_TARGET_H

#include "injector/symbol/resolve.h"
#include "tests/support/victim.h"

/* A victim with all that was read of it. */
struct target {
	struct victim *victim;
	struct inj_process *process;
	struct inj_maps *maps;
	struct inj_modules *modules;
};

/* Start tests/live/symbol/NAME of the build directory, wait for "ready", read it. argument: NULL
 * for none. */
void target_start(struct target *target, const char *name, const char *argument);
/* The same for any command. */
void target_run(struct target *target, char *const argv[]);
void target_end(struct target *target);
#define TARGET INJ_CLEANUP(target_end) struct target

/* Path of a file of this directory in the build tree, malloc'ed. */
char *target_path(const char *name);
/* Read modules again, after something changed. */
void target_reload(struct target *target);
/* What the victim itself says about a symbol. Fails the test when it does not know it. */
int64_t target_told(struct target *target, const char *name);

/* Expect a function (main or the only module, as for DSU_REPLACE) to be where the victim says. */
void expect_function(struct target *target, const char *module, const char *file, const char *name,
		     const char *told);
/* Expect a refusal whose sentence contains `text`. */
void expect_refused(struct target *target, const char *module, const char *file, const char *name,
		    int code, const char *text);
/* Expect an external symbol of a patch. */
void expect_external(struct target *target, const char *prefer, const char *file, const char *name,
		     const char *version, const char *told);

#endif
