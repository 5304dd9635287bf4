/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The record of a planned update, finished before anything is touched: see
 * injector/abi/ledger.h. */
#include <string.h>

#include "protocols/plan.h"

static int describe_site(struct inj_draft *draft, const struct upd_change *change,
			 struct dsu_ledger_site *site)
{
	const struct inj_module *module = change->symbol.module;
	const char *home = module->name;
	int r;

	*site = (struct dsu_ledger_site){
		.address = change->entry,
		.size = change->size,
		.replacement = change->replacement,
		.replacement_size = change->wanted->new_size,
		.stub = change->stub_address,
		.stub_bytes = (uint16_t)change->stub.n_bytes,
		.pad = change->site.pad,
		.kind = (uint8_t)change->site.kind,
		.n_covered = change->site.n_covered,
		.n_map = (uint8_t)change->stub.n_map,
		.n_writes = (uint8_t)change->n_writes,
		.n_kept = change->site.n_kept,
		.n_written = change->n_writes ? change->writes[change->n_writes - 1].n : 0,
	};
	memcpy(site->covered, change->site.covered, sizeof(site->covered));
	for (size_t i = 0; i < change->stub.n_map; i++) {
		site->map[i].from = change->stub.map[i].from;
		site->map[i].to = change->stub.map[i].to;
	}
	for (size_t i = 0; i < change->n_writes; i++) {
		site->writes[i].address = change->writes[i].address;
		site->writes[i].n = change->writes[i].n;
		memcpy(site->writes[i].before, change->writes[i].before, 7);
		memcpy(site->writes[i].after, change->writes[i].after, 7);
	}
	r = inj_draft_string(draft, home, &site->module);
	if (r == 0)
		r = inj_draft_string(draft, module->build_id_hex, &site->build_id);
	if (r == 0)
		r = inj_draft_string(draft, change->wanted->name, &site->name);
	if (r == 0)
		r = inj_draft_string(draft, change->wanted->new_name, &site->new_name);
	return r;
}

static int describe_patch(struct inj_draft *draft, const struct upd_plan *plan,
			  const char *protocol)
{
	struct dsu_ledger *header = &draft->header;
	const struct inj_patch *patch = plan->patch;
	int r;

	header->control = plan->control;
	header->image_base = plan->image_base;
	header->image_vaddr = plan->image->vaddr_base;
	header->image_bytes = plan->image->bytes;
	header->flags = plan->unwinder.passes ? DSU_LEDGER_PADS_PASS : 0;
	if (plan->image->eh_frame_bytes) {
		header->image_eh_frame = plan->image_base + plan->image->eh_frame_offset;
		header->image_eh_frame_bytes = plan->image->eh_frame_bytes;
	}
	r = inj_draft_string(draft, patch->id, &header->patch_id);
	if (r == 0)
		r = inj_draft_string(draft, patch->version, &header->patch_version);
	if (r == 0)
		r = inj_draft_string(draft, patch->digest, &header->patch_digest);
	if (r == 0)
		r = inj_draft_string(draft, protocol, &header->protocol);
	return r;
}

static int write_record(struct upd_plan *plan, struct inj_draft *draft,
			const struct dsu_ledger_site *sites)
{
	const size_t bytes = inj_draft_bytes(draft, plan->n_areas, plan->n_changes);

	/* The record's area was sized before its strings were known exactly. */
	if (bytes > plan->areas[1].bytes)
		return -ENOSPC;
	plan->ledger_bytes = malloc(bytes);
	if (!plan->ledger_bytes)
		return -ENOMEM;
	plan->n_ledger_bytes = inj_draft_finish(draft, plan->areas, plan->n_areas, sites,
						plan->n_changes, plan->ledger_bytes);
	return 0;
}

int upd_plan_record(struct upd_subject *subject, struct upd_plan *plan, const uint8_t update_id[16],
		    uint32_t n_members, const char *protocol, struct inj_why *why)
{
	INJ_CLEANUP(inj_draft_deinit) struct inj_draft draft;
	INJ_FREE struct dsu_ledger_site *sites = calloc(plan->n_changes, sizeof(*sites));
	int r = sites ? 0 : -ENOMEM;

	inj_draft_init(&draft);
	memcpy(draft.header.update_id, update_id, sizeof(draft.header.update_id));
	draft.header.n_members = n_members;
	plan->sequence = inj_history_sequence(&subject->history) + 1;
	if (r == 0)
		r = describe_patch(&draft, plan, protocol);
	for (size_t i = 0; r == 0 && i < plan->n_changes; i++)
		r = describe_site(&draft, &plan->changes[i], &sites[i]);
	if (r == 0)
		r = write_record(plan, &draft, sites);
	return r == 0 ? 0 : inj_broke(why, r, "writing the record of the update");
}
