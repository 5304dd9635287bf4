/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_UNWINDER_H
#define UPD_UNWINDER_H

#include "injector/abi/ledger.h"
#include "injector/descriptor/history.h"
#include "injector/redirect/return-pad.h"
#include "injector/symbol/module.h"

struct upd_remote;
struct upd_subject;

/*
 * The target's own unwinder: libgcc, shared or linked in. It finds tables of code that no loaded
 * object covers through a registry that two of its functions keep. A program without it (or without
 * those functions) unwinds nothing itself.
 */
#define UPD_N_LOCKED 8

struct upd_unwinder {
	struct inj_pad_helpers helpers; /* of return pads, if passes */
	bool passes;           /* all of them are known, so exceptions pass through pads whoever
				  catches them */
	inj_addr tell;         /* __register_frame_info(begin, object), 0: there is none */
	inj_addr forget;       /* __deregister_frame_info(begin) */
	struct inj_range locked[UPD_N_LOCKED]; /* functions that hold the registry's lock; empty
						  ones are unknown */
	bool may_unwind;       /* some module brings its own way of unwinding, which knows nothing
				  of us */
};

/*
 * Find the unwinder of a target.
 * modules: loaded; ret: filled, zero where something is not there.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: libgcc's unwind-dw2-fde.h.
 */
void upd_unwinder_find(const struct inj_modules *modules, struct upd_unwinder *ret);

/*
 * Only what struct upd_unwinder calls may_unwind, which is much quicker to find out.
 * modules: loaded.
 * State: any.
 * Return: the answer.
 * Errors: none.
 * Source: none.
 */
bool upd_unwinder_may_unwind(const struct inj_modules *modules);

/*
 * Register every table of a record: those of the stubs and that of the patch.
 * remote: ready for calls; unwinder: of the same target; record: ours, or checked.
 * State: running, memory staged and linked.
 * Return: 0, also when there is no unwinder.
 * Errors: as upd_remote_call().
 * Source: libgcc's unwind-dw2-fde.h.
 */
int upd_unwinder_tell(struct upd_remote *remote, const struct upd_unwinder *unwinder,
		      const struct dsu_ledger *record, struct inj_why *why);

/*
 * Take the tables of an update back.
 * ledger: of the subject's history; deadline_ns: CLOCK_MONOTONIC.
 * State: running; no thread executes code of the update.
 * Return: 0; 1 when the unwinder may know them for ever, because a call to it was cut off: libgcc
 *   aborts the program when asked to forget what it does not know, so the memory has to stay.
 * Errors: as upd_remote_call().
 * Source: libgcc's unwind-dw2-fde.c.
 */
int upd_unwinder_forget(struct upd_subject *subject, const struct inj_ledger *ledger,
			uint64_t deadline_ns, struct inj_why *why);

#endif
