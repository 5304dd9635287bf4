/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_PADS_H
#define UPD_PADS_H

#include "injector/abi/ledger.h"
#include "injector/stop/tracer.h"
#include "protocols/subject.h"
#include "protocols/unwinder.h"

/*
 * Catching a thread as it leaves a function that is nearly always on its stack: while it is held,
 * the return address of its outermost watched frame is exchanged for a return pad. When the thread
 * comes back through it, it is off the function, be it by returning or by an exception, and waits
 * there for a moment (some milliseconds at most, and whatever happens to us), in which the next
 * attempt is made. All threads' own unwinders see through pads by their tables.
 */
struct upd_pads {
	inj_addr control;        /* control page of the update that owns them */
	inj_addr code;           /* first pad, 0: there are none */
	bool may_plant;          /* unwinders of the target see through pads, or there are none */
	bool passes;             /* also where an exception is caught right behind the pad */
	bool known;              /* `used` and `passed` were read from the target */
	uint32_t seen[DSU_N_PADS]; /* arrivals known */
	bool used[DSU_N_PADS];     /* planted once; never planted again, since a thread may still be
				      inside */
	bool passed[DSU_N_PADS];   /* and left through */
};

/*
 * Look at the pads of an update.
 * pads: filled; record: ours or checked; registered: their tables are known to the target's
 *   unwinder; without that they are used only in programs in which nothing unwinds: C programs
 *   without exception tables; unwinder: of the target.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: docs/protocols.md.
 */
void upd_pads_init(struct upd_pads *pads, const struct dsu_ledger *record, bool registered,
		   const struct upd_unwinder *unwinder);

/*
 * Plant pads for the threads that block.
 * hold: of the subject's process; activity: what the walk of this hold found; hits seen only by the
 *   conservative scan are left alone.
 * State: held.
 * Return: how many are planted now.
 * Errors: none; failures to plant are not failures.
 * Source: injector/redirect/return-pad.h.
 */
size_t upd_pads_plant(struct upd_pads *pads, struct upd_subject *subject,
		      const struct inj_hold *hold, const struct inj_activity *activity);

/*
 * Was any pad planted that nobody passed?
 * State: any.
 * Return: the answer.
 * Errors: none.
 * Source: none.
 */
bool upd_pads_any(const struct upd_pads *pads);

/*
 * Did a thread arrive since the last look?
 * State: running.
 * Return: the answer; false when the target cannot be read.
 * Errors: none.
 * Source: none.
 */
bool upd_pads_arrived(struct upd_pads *pads, const struct upd_subject *subject);

/*
 * Nobody shall wait any longer in pads that were passed.
 * State: any.
 * Return: nothing.
 * Errors: none; the waits in pads end by themselves.
 * Source: injector/redirect/return-pad.h.
 */
void upd_pads_dismiss(struct upd_pads *pads, struct upd_subject *subject);

/*
 * Put all return addresses back that are still exchanged, from the words of the control page alone.
 * control, code: of the update, as in struct upd_pads.
 * State: held.
 * Return: 0.
 * Errors: negative errno of reading and writing.
 * Source: docs/ledger.md.
 */
int upd_pads_withdraw(struct upd_subject *subject, inj_addr control, inj_addr code);

#endif
