/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Promoting the stubs of a committed update and demoting them before it is taken back. Always
 * holds: a stub is only promoted while the generation word is 1. Demoting needs nothing but the
 * ledger, so any dsud can take back what another one promoted.
 */
#include "protocols/promote.h"

#include <string.h>

#include "injector/redirect/promote.h"
#include "injector/redirect/site.h"
#include "protocols/plan.h"

static int copy_stubs(const struct upd_plan *plan, struct upd_promotion *ret)
{
	for (size_t i = 0; i < plan->n_clusters; i++) {
		const struct upd_cluster *cluster = &plan->clusters[i];
		struct upd_promoted_area *area = &ret->areas[i];

		area->bytes = malloc(cluster->stubs_bytes);
		if (!area->bytes)
			return -ENOMEM;
		memcpy(area->bytes, cluster->stubs_data, cluster->stubs_bytes);
		area->address = cluster->stubs;
		area->n_bytes = cluster->stubs_bytes;
		ret->n_areas++;
	}
	return 0;
}

int upd_promotion_prepare(const struct upd_plan *plan, struct upd_promotion *ret)
{
	int r;

	*ret = (struct upd_promotion){ .areas = calloc(plan->n_clusters + 1, sizeof(*ret->areas)) };
	r = ret->areas ? copy_stubs(plan, ret) : -ENOMEM;
	for (size_t i = 0; r == 0 && i < plan->n_changes; i++) {
		const struct upd_change *change = &plan->changes[i];
		const struct upd_promoted_area *area = &ret->areas[change->cluster];

		inj_stub_promote(area->bytes + (change->stub_address - area->address),
				 change->stub.n_bytes);
	}
	return r;
}

void upd_promotion_deinit(struct upd_promotion *promotion)
{
	for (size_t i = 0; i < promotion->n_areas; i++)
		free(promotion->areas[i].bytes);
	free(promotion->areas);
	*promotion = (struct upd_promotion){};
}

int upd_promote(struct upd_subject *subject, const struct upd_promotion *promotion)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < promotion->n_areas; i++)
		r = inj_writer_fill(subject->writer, promotion->areas[i].address,
				    promotion->areas[i].bytes, promotion->areas[i].n_bytes);
	return r;
}

int upd_demote(struct upd_subject *subject, const struct inj_ledger *ledger)
{
	uint64_t test;
	int r = inj_stub_test(ledger->record->control + offsetof(struct dsu_control, generation),
			      false, &test);

	for (size_t i = 0; r == 0 && i < ledger->record->n_sites; i++)
		if (ledger->sites[i].kind != INJ_SITE_LATE)
			r = inj_writer_store(subject->writer, ledger->sites[i].stub, test);
	return r;
}
