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

static int copy_stubs(const struct upd_blueprint *blueprint, const struct dsu_ledger_area *from,
		      struct upd_promotion *ret)
{
	const uint8_t *bytes = upd_blueprint_bytes(blueprint, from->offset, from->bytes);
	struct upd_promoted_area *area = &ret->areas[ret->n_areas];

	if (!bytes)
		return -EINVAL;
	area->bytes = malloc(from->bytes);
	if (!area->bytes)
		return -ENOMEM;
	memcpy(area->bytes, bytes, from->bytes);
	area->address = from->address;
	area->n_bytes = from->bytes;
	ret->n_areas++;
	return 0;
}

static void promote_site(const struct upd_promotion *promotion, const struct dsu_ledger_site *site)
{
	for (size_t i = 0; i < promotion->n_areas; i++) {
		const struct upd_promoted_area *area = &promotion->areas[i];

		if (site->stub - area->address < area->n_bytes)
			inj_stub_promote(area->bytes + (site->stub - area->address),
					 site->stub_bytes);
	}
}

int upd_promotion_prepare(const struct upd_blueprint *blueprint, struct upd_promotion *ret)
{
	const struct inj_ledger *ledger = blueprint->record;
	int r;

	*ret = (struct upd_promotion){.areas =
					      calloc(ledger->record->n_areas, sizeof(*ret->areas))};
	r = ret->areas ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < ledger->record->n_areas; i++)
		if (ledger->areas[i].kind == DSU_AREA_STUBS)
			r = copy_stubs(blueprint, &ledger->areas[i], ret);
	for (size_t i = 0; r == 0 && i < ledger->record->n_sites; i++)
		promote_site(ret, &ledger->sites[i]);
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
