/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_PROMOTE_H
#define UPD_PROMOTE_H

#include "protocols/blueprint.h"
#include "protocols/subject.h"

/*
 * The stubs of one update as they shall stand after the commit: straight jumps. Made before the
 * hold, so that the hold only writes.
 */
struct upd_promotion {
	struct upd_promoted_area {
		inj_addr address;
		uint8_t *bytes; /* owned */
		size_t n_bytes;
	} *areas;
	size_t n_areas;
};

/*
 * Make the promoted form of all stubs of a blueprint.
 * blueprint: checked; ret: free with upd_promotion_deinit(), on failure too.
 * State: any.
 * Return: 0.
 * Errors: -ENOMEM.
 * Source: none.
 */
int upd_promotion_prepare(const struct upd_blueprint *blueprint, struct upd_promotion *ret);

/*
 * Free what a promotion owns; zeroed ones are fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_promotion_deinit(struct upd_promotion *promotion);

/*
 * Promote the stubs of an update. Promoted or not, a stub does the same, so failing on the way is
 * no failure of the update.
 * subject: its writer writes.
 * State: held, and the generation word is 1.
 * Return: 0.
 * Errors: negative errno; some stubs are promoted, others are not.
 * Source: proc(5), mem.
 */
int upd_promote(struct upd_subject *subject, const struct upd_promotion *promotion);

/*
 * Let all stubs of an update ask for the generation again. Comes before every store of 0 there.
 * subject: its writer writes; ledger: complete.
 * State: held.
 * Return: 0.
 * Errors: negative errno; then the generation must stay 1.
 * Source: as above.
 */
int upd_demote(struct upd_subject *subject, const struct inj_ledger *ledger);

#endif
