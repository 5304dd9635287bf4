/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records of updates: what is written is read back, and nothing that was tampered with is
 * believed. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>

#include "injector/descriptor/ledger.h"

#define HOME 0x555500000000ull
#define CONTROL 0x7ffff000ull

struct sample {
	struct dsu_ledger_area areas[3];
	struct dsu_ledger_site sites[2];
	struct dsu_control control;
	uint8_t *bytes;
	size_t n_bytes;
};

static void sample_init(struct sample *sample)
{
	INJ_CLEANUP(inj_draft_deinit) struct inj_draft draft;

	*sample = (struct sample){
		.areas = {
			{ CONTROL, 4096, 4096, PROT_READ | PROT_WRITE, DSU_AREA_CONTROL },
			{ HOME, 8192, 0, PROT_READ, DSU_AREA_LEDGER },
			{ HOME + 8192, 4096, 8192, PROT_READ | PROT_EXEC, DSU_AREA_STUBS },
		},
		.sites = {
			{ .address = 0x555555550000, .size = 64, .replacement = HOME + 0x3000,
			  .replacement_size = 32, .stub = HOME + 8192, .stub_bytes = 40, .kind = 1,
			  .n_covered = 5, .n_map = 2, .n_writes = 1 },
			{ .address = 0x555555551000, .size = 16, .replacement = HOME + 0x3100,
			  .replacement_size = 8, .stub = HOME + 8256, .stub_bytes = 40, .kind = 2,
			  .n_writes = 2 },
		},
		.control = { .magic = DSU_CONTROL_MAGIC, .ledger = HOME },
	};
	sample->sites[0].writes[0].address = 0x555555550000;
	sample->sites[0].writes[0].n = 5;
	sample->sites[1].writes[0].address = 0x555555551020;
	sample->sites[1].writes[0].n = 5;
	sample->sites[1].writes[1].address = 0x555555551000;
	sample->sites[1].writes[1].n = 2;

	inj_draft_init(&draft);
	draft.header.control = CONTROL;
	draft.header.image_base = HOME + 0x3000;
	draft.header.image_bytes = 0x1000;
	cr_assert_eq(inj_draft_string(&draft, "hello-v2", &draft.header.patch_id), 0);
	cr_assert_eq(inj_draft_string(&draft, "1.0", &draft.header.patch_version), 0);
	cr_assert_eq(inj_draft_string(&draft, "hello", &sample->sites[0].name), 0);
	cr_assert_eq(inj_draft_string(&draft, "main", &sample->sites[1].module), 0);
	sample->n_bytes = inj_draft_bytes(&draft, 3, 2);
	sample->bytes = malloc(sample->n_bytes);
	cr_assert(sample->bytes);
	cr_assert_eq(inj_draft_finish(&draft, sample->areas, 3, sample->sites, 2, sample->bytes),
		     sample->n_bytes);
}

static int check(const struct sample *sample, inj_addr address, size_t length,
		 struct inj_ledger **ret)
{
	uint8_t *copy = malloc(length ? length : 1);

	cr_assert(copy);
	memcpy(copy, sample->bytes, length);
	return inj_ledger_check(copy, length, address, &sample->control, ret);
}

Test(ledger, says_what_was_written)
{
	struct sample sample;
	struct inj_ledger *ledger = NULL;

	sample_init(&sample);
	cr_assert_eq(check(&sample, HOME, sample.n_bytes, &ledger), 0);
	cr_assert_str_eq(inj_ledger_string(ledger, ledger->record->patch_id), "hello-v2");
	cr_assert_str_eq(inj_ledger_string(ledger, ledger->record->patch_version), "1.0");
	cr_assert_str_eq(inj_ledger_string(ledger, ledger->record->patch_digest), "");
	cr_assert_str_eq(inj_ledger_string(ledger, ledger->sites[0].name), "hello");
	cr_assert_str_eq(inj_ledger_string(ledger, ledger->sites[1].module), "main");
	cr_assert_eq(ledger->record->n_areas, 3);
	cr_assert_eq(ledger->areas[2].kind, DSU_AREA_STUBS);
	cr_assert_eq(ledger->sites[1].writes[1].n, 2);
	cr_assert_not(inj_ledger_active(ledger));
	inj_ledger_free(ledger);
	free(sample.bytes);
}

Test(ledger, no_bit_can_be_flipped)
{
	struct sample sample;

	sample_init(&sample);
	for (size_t i = 0; i < sample.n_bytes; i++)
		for (int bit = 0; bit < 8; bit++) {
			struct inj_ledger *ledger = NULL;

			sample.bytes[i] ^= (uint8_t)(1 << bit);
			cr_assert_lt(check(&sample, HOME, sample.n_bytes, &ledger), 0,
				     "bit %d of byte %zu", bit, i);
			sample.bytes[i] ^= (uint8_t)(1 << bit);
		}
	free(sample.bytes);
}

Test(ledger, no_byte_can_be_missing)
{
	struct sample sample;

	sample_init(&sample);
	for (size_t length = 0; length < sample.n_bytes; length++) {
		struct inj_ledger *ledger = NULL;

		cr_assert_lt(check(&sample, HOME, length, &ledger), 0, "%zu bytes", length);
	}
	free(sample.bytes);
}

/* A forger can make the checksum right; then every number in the record has to stand on its own. */
static int check_forged(struct sample *sample)
{
	struct dsu_ledger *record = (struct dsu_ledger *)sample->bytes;
	struct inj_ledger *ledger = NULL;
	int r;

	record->checksum = inj_ledger_checksum(record, sample->n_bytes);
	r = check(sample, HOME, sample->n_bytes, &ledger);
	inj_ledger_free(ledger);
	free(sample->bytes);
	return r;
}

#define FORGED(name, ...)                                                       \
	Test(ledger_forged, name)                                               \
	{                                                                       \
		struct sample sample;                                           \
		struct dsu_ledger *record;                                      \
		struct dsu_ledger_area *areas;                                  \
		struct dsu_ledger_site *sites;                                  \
                                                                                \
		sample_init(&sample);                                           \
		record = (struct dsu_ledger *)sample.bytes;                     \
		areas = (void *)(sample.bytes + record->areas);                 \
		sites = (void *)(sample.bytes + record->sites);                 \
		(void)areas;                                                    \
		(void)sites;                                                    \
		__VA_ARGS__;                                                    \
		cr_assert_eq(check_forged(&sample), -EBADMSG);                  \
	}

FORGED(areas_outside, record->areas = record->total_bytes - 8)
FORGED(areas_unaligned, record->areas += 4)
FORGED(areas_in_the_header, record->areas = 8)
FORGED(too_many_areas, record->n_areas = 0xffffffff)
FORGED(too_many_sites, record->n_sites = 0x10000000)
FORGED(sites_outside, record->sites = 0xfffffff8)
FORGED(string_outside, record->patch_id = record->total_bytes)
FORGED(string_without_end, record->patch_id = record->total_bytes - 1;
       sample.bytes[sample.n_bytes - 1] = 'x')
FORGED(no_id, record->patch_id = 0)
FORGED(control_in_the_kernel, record->control = 0xffff888000000000)
FORGED(area_writable_and_executable, areas[2].prot = PROT_READ | PROT_WRITE | PROT_EXEC)
FORGED(area_wraps_around, areas[2].bytes = 0xfffffffffffff000)
FORGED(area_of_no_kind, areas[2].kind = 99)
FORGED(record_outside_of_its_area, areas[1].address += 4096)
FORGED(site_in_the_kernel, sites[0].address = 0xffffffff81000000)
FORGED(site_of_no_kind, sites[0].kind = 0)
FORGED(too_many_covered, sites[0].n_covered = 33)
FORGED(too_many_map_entries, sites[0].n_map = 33)
FORGED(too_many_writes, sites[0].n_writes = 3)
FORGED(write_too_long, sites[0].writes[0].n = 8)
FORGED(write_of_nothing, sites[0].writes[0].n = 0)
FORGED(write_in_the_kernel, sites[0].writes[0].address = 0xffffffff81000000)
FORGED(site_name_outside, sites[0].name = 0xffffffff)
FORGED(control_that_is_no_area, record->control += 4096)
FORGED(stub_elsewhere, sites[0].stub = HOME)
FORGED(stub_that_ends_elsewhere, sites[0].stub_bytes = 8192)
/* One long piece of the record as the name of everything: together more than the record holds. */
FORGED(strings_longer_than_the_record,
       memset(sites[0].map, 'x', sizeof(sites[0].map));
       sites[0].name = sites[0].new_name = sites[0].module = sites[0].build_id =
	       sites[1].name = sites[1].new_name = sites[1].module = sites[1].build_id =
		       record->patch_version = record->patch_digest = record->protocol =
			       (uint32_t)((uint8_t *)sites[0].map - sample.bytes))

Test(ledger, belongs_where_it_was_found)
{
	struct sample sample;
	struct inj_ledger *ledger = NULL;

	sample_init(&sample);
	cr_assert_eq(check(&sample, HOME + 4096, sample.n_bytes, &ledger), -EBADMSG);
	sample.control.magic = 0;
	cr_assert_eq(check(&sample, HOME, sample.n_bytes, &ledger), -EBADMSG);
	free(sample.bytes);
}

Test(ledger, a_later_version_is_told_apart)
{
	struct sample sample;
	struct inj_ledger *ledger = NULL;

	sample_init(&sample);
	((struct dsu_ledger *)sample.bytes)->version = DSU_LEDGER_VERSION + 1;
	cr_assert_eq(check(&sample, HOME, sample.n_bytes, &ledger), -EPROTONOSUPPORT);
	free(sample.bytes);
}
