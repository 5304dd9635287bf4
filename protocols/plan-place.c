/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where everything of an update will lie in one target. Stubs lie within reach of the modules they
 * serve, one area for all modules that are close enough together; the control page lies below 2
 * GiB, so that every stub reaches it with a
 * 32-bit displacement; the rest lies beside the first stubs.
 *
 *   memfd:  record | frames | pad frames | image | scratch | stubs | pads | control |
 *           stubs, frames of other clusters
 *   target: control (low) | ... record, frames, pad frames, image, scratch, stubs, pads (near the
 *   first module, one
 *           after the other as in the file, so that neighbours of one protection are one mapping) |
 *           stubs, frames (near others)
 */
#include <string.h>
#include <sys/mman.h>

#include "injector/redirect/return-pad.h"
#include "injector/redirect/stub-frame.h"
#include "injector/stop/borrow.h"
#include "protocols/plan.h"

_Static_assert(DSU_N_PADS * INJ_RETURN_PAD_BYTES + INJ_PAD_PERSONALITY_BYTES == UPD_PADS_BYTES,
	       "pads and what they share fill their area");

/* Modules further apart than this get stubs of their own: both must reach one area between or
 * beside them. */
#define CLUSTER_SPAN (1ull << 30)
#define STUB_ALIGN 16
#define MMAP_REGION 0x700000000000ull
#define BUSY_BYTES (1ull << 30)
#define STUB_ROOM 128
#define FRAME_ROOM 160
#define WRAPPER_ROOM (STUB_ROOM + 512)
#define CALL_PAD_ROOM 128
#define SCRATCH_BYTES (256u << 10)

static struct inj_range join(struct inj_range a, struct inj_range b)
{
	return (struct inj_range){ a.start < b.start ? a.start : b.start,
				   a.end > b.end ? a.end : b.end };
}

static int assign_cluster(struct upd_plan *plan, struct upd_change *change, struct inj_why *why)
{
	for (size_t i = 0; i < plan->n_clusters; i++) {
		struct upd_cluster *cluster = &plan->clusters[i];
		struct inj_range both = join(cluster->near, change->near);

		if (both.end - both.start > CLUSTER_SPAN)
			continue;
		cluster->near = both;
		cluster->n_changes++;
		change->cluster = (unsigned)i;
		return 0;
	}
	if (plan->n_clusters >= UPD_MAX_CLUSTERS)
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "The patch changes modules in more than %d far-apart places. "
				  "Split it.",
				  UPD_MAX_CLUSTERS);
	change->cluster = (unsigned)plan->n_clusters;
	plan->clusters[plan->n_clusters++] = (struct upd_cluster){ .near = change->near,
								   .n_changes = 1 };
	return 0;
}

static void size_clusters(struct upd_plan *plan)
{
	for (size_t i = 0; i < plan->n_clusters; i++) {
		struct upd_cluster *cluster = &plan->clusters[i];

		size_t room = i == 0 ? CALL_PAD_ROOM : 0;

		for (size_t j = 0; j < plan->n_changes; j++)
			if (plan->changes[j].cluster == i)
				room += plan->changes[j].site.keep.wanted ? WRAPPER_ROOM
									  : STUB_ROOM;
		cluster->stubs_bytes = INJ_PAGE_UP(room);
		cluster->frames_bytes = INJ_PAGE_UP(cluster->n_changes * FRAME_ROOM + FRAME_ROOM);
	}
}

static size_t record_bytes(const struct upd_plan *plan)
{
	size_t strings = 1024;

	for (size_t i = 0; i < plan->n_changes; i++)
		strings += strlen(plan->changes[i].wanted->name) +
			   strlen(plan->changes[i].wanted->new_name) +
			   sizeof(plan->changes[i].symbol.module->name) +
			   sizeof(plan->changes[i].symbol.module->build_id_hex);
	return INJ_PAGE_UP(sizeof(struct dsu_ledger) + sizeof(plan->areas) +
			   plan->n_changes * sizeof(struct dsu_ledger_site) + strings);
}

static void add_area(struct upd_plan *plan, inj_addr address, size_t bytes, size_t offset, int prot,
		     enum dsu_area_kind kind)
{
	plan->areas[plan->n_areas++] = (struct dsu_ledger_area){
		.address = address, .bytes = bytes, .offset = offset,
		.prot = (uint32_t)prot, .kind = kind,
	};
}

static int find_gap(const struct upd_subject *subject, struct inj_range near, size_t bytes,
		    const struct inj_range *taken, size_t n_taken, inj_addr *ret,
		    struct inj_why *why)
{
	struct inj_range skip[UPD_MAX_CLUSTERS + 2];

	/* The kernel places new mappings right below the libraries; a target that makes some
	 * meanwhile must not meet ours. */
	if (near.start > MMAP_REGION) {
		memcpy(skip, taken, n_taken * sizeof(*skip));
		skip[n_taken] = (struct inj_range){ near.start - BUSY_BYTES, near.start };
		if (inj_maps_gap(subject->maps, near, bytes, skip, n_taken + 1, ret) == 0)
			return 0;
	}
	if (inj_maps_gap(subject->maps, near, bytes, taken, n_taken, ret) == 0)
		return 0;
	return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
			  "The address space of process %d has no free %zu bytes within 2 GiB of "
			  "0x%llx, where the redirects must reach.",
			  subject->pid, bytes, (unsigned long long)near.start);
}

/* Does anything have to be called in the target before the commit? Then a stack of ours is needed
 * for the time. */
static bool needs_calls(const struct upd_plan *plan)
{
	const struct inj_elf *elf = plan->patch->elf;

	if (plan->n_ifuncs > 0 || plan->unwinder.tell)
		return true;
	for (size_t i = 0; i < inj_elf_n_relocations(elf); i++) {
		const struct inj_elf_rela *rela = inj_elf_relocation_at(elf, i);
		struct inj_elf_symbol symbol;

		if (rela->type == R_X86_64_IRELATIVE)
			return true;
		if (rela->symbol && inj_elf_symbol(elf, SHT_DYNSYM, rela->symbol, &symbol) == 0 &&
		    symbol.type == STT_GNU_IFUNC && symbol.section != SHN_UNDEF)
			return true;
	}
	return false;
}

static size_t take(size_t *at, size_t bytes)
{
	const size_t taken = *at;

	*at += bytes;
	return taken;
}

/* Give every part its offset in the file, which for the first ones is that in the home as well. */
static void lay_out_file(struct upd_plan *plan, size_t record)
{
	struct upd_cluster *first = &plan->clusters[0];
	size_t at = record;

	first->frames_offset = take(&at, first->frames_bytes);
	plan->pad_frames_offset = take(&at, UPD_PAD_FRAMES_BYTES);
	plan->image_offset = take(&at, plan->image->bytes);
	plan->scratch_bytes = needs_calls(plan) ? SCRATCH_BYTES : 0;
	plan->scratch_offset = take(&at, plan->scratch_bytes);
	first->stubs_offset = take(&at, first->stubs_bytes);
	plan->pads_offset = take(&at, UPD_PADS_BYTES);
	plan->home_bytes = at;
	plan->control_offset = take(&at, INJ_PAGE_BYTES);
	for (size_t i = 1; i < plan->n_clusters; i++) {
		plan->clusters[i].stubs_offset = take(&at, plan->clusters[i].stubs_bytes);
		plan->clusters[i].frames_offset = take(&at, plan->clusters[i].frames_bytes);
	}
	plan->memfd_bytes = at;
}

static int choose_addresses(struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why)
{
	struct upd_cluster *first = &plan->clusters[0];
	struct inj_range taken[UPD_MAX_CLUSTERS + 1];
	size_t n_taken = 0;
	int r = inj_maps_gap_low(subject->maps, INJ_PAGE_BYTES, NULL, 0, &plan->control);

	if (r < 0)
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "Process %d has no free page below 2 GiB for the control word.",
				  subject->pid);
	taken[n_taken++] = (struct inj_range){ plan->control, plan->control + INJ_PAGE_BYTES };
	r = find_gap(subject, first->near, plan->home_bytes, taken, n_taken, &plan->ledger, why);
	if (r != 0)
		return r;
	taken[n_taken++] = (struct inj_range){ plan->ledger, plan->ledger + plan->home_bytes };
	first->stubs = plan->ledger + first->stubs_offset;
	first->frames = plan->ledger + first->frames_offset;
	plan->pads = plan->ledger + plan->pads_offset;
	plan->pad_frames = plan->ledger + plan->pad_frames_offset;
	plan->image_base = plan->ledger + plan->image_offset;
	plan->scratch = plan->scratch_bytes ? plan->ledger + plan->scratch_offset : 0;
	plan->call_pad = first->stubs;
	for (size_t i = 1; r == 0 && i < plan->n_clusters; i++) {
		struct upd_cluster *cluster = &plan->clusters[i];
		const size_t bytes = cluster->stubs_bytes + cluster->frames_bytes;

		r = find_gap(subject, cluster->near, bytes, taken, n_taken, &cluster->stubs, why);
		cluster->frames = cluster->stubs + cluster->stubs_bytes;
		taken[n_taken++] = (struct inj_range){ cluster->stubs, cluster->stubs + bytes };
	}
	return r;
}

/* The list of the record: control and record first, so that whatever was mapped when we died can be
 * told from the rest. */
static void list_areas(struct upd_plan *plan, size_t record)
{
	const struct inj_image *image = plan->image;

	add_area(plan, plan->control, INJ_PAGE_BYTES, plan->control_offset, PROT_READ | PROT_WRITE,
		 DSU_AREA_CONTROL);
	add_area(plan, plan->ledger, record, 0, PROT_READ, DSU_AREA_LEDGER);
	for (size_t i = 0; i < plan->n_clusters; i++) {
		const struct upd_cluster *cluster = &plan->clusters[i];

		add_area(plan, cluster->stubs, cluster->stubs_bytes, cluster->stubs_offset,
			 PROT_READ | PROT_EXEC, DSU_AREA_STUBS);
		add_area(plan, cluster->frames, cluster->frames_bytes, cluster->frames_offset,
			 PROT_READ, DSU_AREA_FRAMES);
	}
	add_area(plan, plan->pads, UPD_PADS_BYTES, plan->pads_offset, PROT_READ | PROT_EXEC,
		 DSU_AREA_PADS);
	add_area(plan, plan->pad_frames, UPD_PAD_FRAMES_BYTES, plan->pad_frames_offset, PROT_READ,
		 DSU_AREA_FRAMES);
	for (size_t i = 0; i < image->n_parts; i++)
		add_area(plan, plan->image_base + image->parts[i].offset, image->parts[i].bytes,
			 plan->image_offset + image->parts[i].offset, image->parts[i].prot,
			 DSU_AREA_IMAGE);
	if (plan->scratch)
		add_area(plan, plan->scratch, plan->scratch_bytes, plan->scratch_offset,
			 PROT_READ | PROT_WRITE, DSU_AREA_SCRATCH);
}

static int emit_one(struct upd_plan *plan, struct upd_change *change, size_t *at,
		    struct inj_why *why)
{
	struct upd_cluster *cluster = &plan->clusters[change->cluster];
	const inj_addr generation = plan->control + offsetof(struct dsu_control, generation);
	struct inj_site_write writes[2];
	int r;

	change->stub_address = cluster->stubs + *at;
	change->replacement =
		plan->image_base + change->wanted->new_vaddr - plan->image->vaddr_base;
	r = inj_stub_emit(&change->site, change->stub_address, generation, change->replacement,
			  &change->stub, why);
	if (r != 0)
		return r;
	if (*at + change->stub.n_bytes > cluster->stubs_bytes)
		return inj_broke(why, -ENOSPC, "placing the stub of %s", change->wanted->name);
	memcpy(cluster->stubs_data + *at, change->stub.bytes, change->stub.n_bytes);
	*at = (*at + change->stub.n_bytes + STUB_ALIGN - 1) & ~(size_t)(STUB_ALIGN - 1);

	r = inj_site_writes(&change->site, change->stub_address, writes, &change->n_writes);
	if (r != 0)
		return inj_broke(why, r, "redirecting %s", change->wanted->name);
	for (size_t i = 0; i < change->n_writes; i++) {
		struct inj_code_write *write = &change->writes[i];

		write->address = writes[i].address;
		write->n = writes[i].n;
		memcpy(write->before, writes[i].old, writes[i].n);
		memcpy(write->after, writes[i].new, writes[i].n);
		plan->needs_guard |= inj_code_tears(write);
	}
	plan->needs_guard |= change->site.kind == INJ_SITE_LATE;
	return 0;
}

static int emit_frames(struct upd_plan *plan, size_t index, struct inj_why *why)
{
	struct upd_cluster *cluster = &plan->clusters[index];
	INJ_FREE const struct inj_stub **stubs = calloc(cluster->n_changes, sizeof(*stubs));
	INJ_FREE inj_addr *addresses = calloc(cluster->n_changes, sizeof(*addresses));
	size_t n = 0, bytes;
	int r;

	if (!stubs || !addresses)
		return inj_broke(why, -ENOMEM, "making unwind tables");
	for (size_t i = 0; i < plan->n_changes; i++)
		if (plan->changes[i].cluster == index) {
			stubs[n] = &plan->changes[i].stub;
			addresses[n++] = plan->changes[i].stub_address;
		}
	r = inj_stub_frames(stubs, addresses, n, cluster->frames, cluster->frames_data,
			    cluster->frames_bytes, &bytes);
	return r == 0 ? 0 : inj_broke(why, r, "making unwind tables");
}

/* The last of the list is the personality routine, if there is one. */
static size_t emit_pad_code(struct upd_plan *plan, struct inj_stub *code)
{
	const size_t personality_at = DSU_N_PADS * INJ_RETURN_PAD_BYTES;
	const bool passes = plan->unwinder.passes;

	for (size_t i = 0; i < DSU_N_PADS; i++) {
		const size_t at = i * INJ_RETURN_PAD_BYTES;
		const inj_addr words =
			plan->control + offsetof(struct dsu_control_page, pads[i]);

		/* The control page was chosen below 2 GiB, so this cannot fail. */
		inj_return_pad_emit(words, passes ? (int32_t)(personality_at - at) : 0, &code[i]);
		memcpy(plan->pads_data + at, code[i].bytes, INJ_RETURN_PAD_BYTES);
	}
	if (!passes)
		return DSU_N_PADS;
	inj_pad_personality_emit(&plan->unwinder.helpers, &code[DSU_N_PADS]);
	memcpy(plan->pads_data + personality_at, code[DSU_N_PADS].bytes, INJ_PAD_PERSONALITY_BYTES);
	return DSU_N_PADS + 1;
}

static int emit_pads(struct upd_plan *plan, struct inj_why *why)
{
	INJ_FREE struct inj_stub *code = calloc(DSU_N_PADS + 1, sizeof(*code));
	const struct inj_stub *list[DSU_N_PADS + 1];
	inj_addr addresses[DSU_N_PADS + 1];
	size_t bytes, n;
	int r;

	if (!code)
		return inj_broke(why, -ENOMEM, "making return pads");
	n = emit_pad_code(plan, code);
	for (size_t i = 0; i < n; i++) {
		list[i] = &code[i];
		addresses[i] = plan->pads + i * INJ_RETURN_PAD_BYTES;
	}
	r = inj_pad_frames(list, addresses, n,
			   plan->unwinder.passes ? addresses[DSU_N_PADS] : 0, plan->pad_frames,
			   plan->pad_frames_data, sizeof(plan->pad_frames_data), &bytes);
	return r == 0 ? 0 : inj_broke(why, r, "making return pads");
}

static int emit_stubs(struct upd_plan *plan, struct inj_why *why)
{
	size_t at[UPD_MAX_CLUSTERS] = { CALL_PAD_ROOM };
	int r = 0;

	for (size_t i = 0; i < plan->n_clusters; i++) {
		struct upd_cluster *cluster = &plan->clusters[i];

		cluster->stubs_data = malloc(cluster->stubs_bytes);
		cluster->frames_data = calloc(1, cluster->frames_bytes);
		if (!cluster->stubs_data || !cluster->frames_data)
			return inj_broke(why, -ENOMEM, "making stubs");
		memset(cluster->stubs_data, 0xcc, cluster->stubs_bytes); /* int3 */
	}
	inj_borrow_pad(plan->clusters[0].stubs_data, CALL_PAD_ROOM);
	for (size_t i = 0; r == 0 && i < plan->n_changes; i++)
		r = emit_one(plan, &plan->changes[i], &at[plan->changes[i].cluster], why);
	for (size_t i = 0; r == 0 && i < plan->n_clusters; i++)
		r = emit_frames(plan, i, why);
	return r == 0 ? emit_pads(plan, why) : r;
}

int upd_plan_place(struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why)
{
	const size_t record = record_bytes(plan);
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->n_changes; i++)
		r = assign_cluster(plan, &plan->changes[i], why);
	if (r != 0)
		return r;
	if (plan->image->n_parts + 5 + 2 * plan->n_clusters > INJ_ARRAY_LENGTH(plan->areas))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "The patch has %zu segments; link it without special sections.",
				  plan->image->n_parts);
	size_clusters(plan);
	lay_out_file(plan, record);
	r = choose_addresses(subject, plan, why);
	if (r != 0)
		return r;
	list_areas(plan, record);
	return emit_stubs(plan, why);
}
