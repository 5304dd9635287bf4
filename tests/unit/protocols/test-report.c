/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The report survives its flat form whole, and no bytes, cut or twisted, get past the decoder.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "injector/base/cleanup.h"
#include "protocols/report.h"

static void set(char **place, const char *text)
{
	free(*place);
	*place = strdup(text);
	cr_assert_not_null(*place);
}

static struct upd_function make_function(const char *name)
{
	return (struct upd_function){
		.module = strdup("hello"),
		.build_id = strdup("00ff"),
		.name = strdup(name),
		.new_name = strdup("hello_v2"),
		.address = 0x401000,
		.replacement = 0x7f0000001000,
		.via_jump = true,
	};
}

static void add_lists(struct upd_target *target)
{
	target->functions = calloc(2, sizeof(*target->functions));
	target->n_functions = 2;
	target->functions[0] = make_function("hello");
	target->functions[1] = make_function("bye");
	target->blockers = calloc(1, sizeof(*target->blockers));
	target->n_blockers = 1;
	target->blockers[0] = (struct upd_blocker){4712, strdup("worker"), strdup("hello"), 2,
						   0x401005, true};
	target->notes = calloc(1, sizeof(*target->notes));
	target->n_notes = 1;
	target->notes[0] = strdup("a warning");
	target->phases = calloc(1, sizeof(*target->phases));
	target->n_phases = 1;
	target->phases[0] = (struct upd_phase){strdup("read"), 77};
	target->patches = calloc(1, sizeof(*target->patches));
	target->n_patches = 1;
	target->patches[0] = (struct upd_patch_state){strdup("hello-v2"),
						      strdup("1.0"),
						      strdup("d1"),
						      strdup("active"),
						      1234567890123456789u,
						      strdup("safe-redefine"),
						      calloc(1, sizeof(struct upd_function)),
						      1};
	target->patches[0].functions[0] = make_function("inner");
	target->threads = calloc(1, sizeof(*target->threads));
	target->n_threads_listed = 1;
	target->threads[0] = (struct upd_thread){4711, strdup("main"), true,
						 calloc(1, sizeof(struct upd_frame)), 1};
	target->threads[0].frames[0] = (struct upd_frame){0x401234, strdup("main"), 4,
							  strdup("hello"), strdup("patched")};
}

static void fill(struct upd_report *report)
{
	struct upd_target *target = upd_report_add(report, 4711);

	cr_assert_not_null(target);
	set(&target->comm, "hello");
	set(&target->patch, "hello-v2");
	target->result = UPD_BLOCKED;
	target->attempts = 3;
	target->held_ns = 81234;
	target->total_ns = 4123456;
	target->n_threads = 8;
	target->code = INJ_BLOCKED;
	set(&target->message, "thread 4712 is inside hello");
	add_lists(target);
	cr_assert_not_null(upd_report_add(report, 4713));
}

static void encode_sample(void **ret_bytes, size_t *ret_length)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};

	fill(&report);
	cr_assert_eq(upd_report_encode(&report, ret_bytes, ret_length), 0);
}

Test(report, added_target_is_empty)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};
	struct upd_target *target = upd_report_add(&report, 42);

	cr_assert_not_null(target);
	cr_assert_eq(report.n_targets, 1);
	cr_assert_eq(target->pid, 42);
	cr_assert_str_empty(target->comm);
	cr_assert_str_empty(target->exe);
	cr_assert_str_empty(target->patch);
	cr_assert_str_empty(target->patch_version);
	cr_assert_str_empty(target->protocol);
	cr_assert_str_empty(target->message);
	cr_assert_eq((int)target->result, 0);
}

Test(report, round_trip_keeps_everything)
{
	INJ_FREE void *bytes = NULL;
	size_t length;
	UPD_REPORT_CLEAN struct upd_report back = {0};

	encode_sample(&bytes, &length);
	cr_assert_eq(upd_report_decode(bytes, length, &back), 0);
	cr_assert_eq(back.n_targets, 2);

	const struct upd_target *target = &back.targets[0];

	cr_assert_eq(target->pid, 4711);
	cr_assert_str_eq(target->comm, "hello");
	cr_assert_eq(target->result, UPD_BLOCKED);
	cr_assert_eq(target->attempts, 3);
	cr_assert_eq(target->held_ns, 81234);
	cr_assert_eq(target->total_ns, 4123456);
	cr_assert_eq(target->code, INJ_BLOCKED);
	cr_assert_str_eq(target->message, "thread 4712 is inside hello");
	cr_assert_eq(target->n_functions, 2);
	cr_assert_str_eq(target->functions[1].name, "bye");
	cr_assert_eq(target->functions[1].replacement, 0x7f0000001000);
	cr_assert(target->functions[1].via_jump);
	cr_assert_eq(target->blockers[0].tid, 4712);
	cr_assert_eq(target->blockers[0].frame, 2);
	cr_assert_str_eq(target->notes[0], "a warning");
	cr_assert_eq(target->phases[0].ns, 77);
	cr_assert_eq(target->patches[0].applied_at_ns, 1234567890123456789u);
	cr_assert_str_eq(target->patches[0].functions[0].name, "inner");
	cr_assert_str_eq(target->threads[0].frames[0].mark, "patched");
	cr_assert_str_empty(back.targets[1].message);
	cr_assert_eq(back.targets[1].n_functions, 0);

	/* The same report gives the same bytes. */
	INJ_FREE void *again = NULL;
	size_t again_length;

	cr_assert_eq(upd_report_encode(&back, &again, &again_length), 0);
	cr_assert_eq(again_length, length);
	cr_assert_eq(memcmp(again, bytes, length), 0);
}

Test(report, every_truncation_is_refused)
{
	INJ_FREE char *bytes = NULL;
	size_t length;

	encode_sample((void **)&bytes, &length);
	for (size_t cut = 0; cut < length; cut++) {
		struct upd_report back = {0};

		/* A copy of exact size, so that a sanitizer sees reads beyond the end. */
		INJ_FREE char *copy = malloc(cut ? cut : 1);

		memcpy(copy, bytes, cut);
		cr_assert_eq(upd_report_decode(copy, cut, &back), -EBADMSG, "cut at %zu", cut);
		cr_assert_null(back.targets);
	}
}

Test(report, trailing_bytes_are_refused)
{
	INJ_FREE char *bytes = NULL;
	size_t length;
	struct upd_report back;

	encode_sample((void **)&bytes, &length);
	bytes = realloc(bytes, length + 1);
	bytes[length] = 0;
	cr_assert_eq(upd_report_decode(bytes, length + 1, &back), -EBADMSG);
}

Test(report, every_twisted_byte_is_refused_or_decodes_lawfully)
{
	INJ_FREE unsigned char *bytes = NULL;
	size_t length;

	encode_sample((void **)&bytes, &length);
	for (size_t at = 0; at < length; at++) {
		for (unsigned twist = 1; twist < 256; twist <<= 1) {
			UPD_REPORT_CLEAN struct upd_report back = {0};

			bytes[at] ^= twist;
			int r = upd_report_decode(bytes, length, &back);

			bytes[at] ^= twist;
			cr_assert(r == 0 || r == -EBADMSG, "byte %zu: %d", at, r);
			for (size_t i = 0; i < back.n_targets; i++) {
				cr_assert_leq((unsigned)back.targets[i].result, UPD_GONE);
				cr_assert_geq(back.targets[i].pid, 0);
			}
		}
	}
}

static void decode_one_string(const char *text, uint32_t length, int expected, const char *reads)
{
	/* magic, one target: pid, comm of that text, and zeros for all the rest */
	static const uint32_t head[] = {0x31505244u, 1, 42};
	char bytes[8192] = {0};
	size_t used = 0;
	UPD_REPORT_CLEAN struct upd_report back = {0};

	memcpy(bytes, head, sizeof(head));
	used += sizeof(head);
	memcpy(bytes + used, &length, sizeof(length));
	used += sizeof(length);
	memcpy(bytes + used, text, length);
	used += length;
	used += 4 * 4;             /* exe, patch, patch_version, protocol */
	used += 4 + 4 + 8 + 8 + 4 + 4; /* result, attempts, held, total, threads, code */
	used += 4 + 6 * 4;         /* message and six empty tables */
	used += 1;                 /* unsettled */
	cr_assert_eq(upd_report_decode(bytes, used, &back), expected);
	if (expected == 0)
		cr_assert_str_eq(back.targets[0].comm, reads);
}

Test(report, strings_become_printable)
{
	decode_one_string("a\nb\x1b[31m", 8, 0, "a?b?[31m");
	decode_one_string("\xff\xfe", 2, 0, "??");
	decode_one_string("gr\xc3\xbc\xc3\x9f", 6, 0, "gr\xc3\xbc\xc3\x9f");
}

Test(report, strings_with_nul_are_refused)
{
	decode_one_string("a\0b", 3, -EBADMSG, NULL);
}

Test(report, strings_beyond_the_bound_are_refused)
{
	char text[UPD_REPORT_MAX_STRING + 2];

	memset(text, 'x', sizeof(text));
	decode_one_string(text, UPD_REPORT_MAX_STRING + 1, -EBADMSG, NULL);
	text[UPD_REPORT_MAX_STRING] = '\0';
	decode_one_string(text, UPD_REPORT_MAX_STRING, 0, text);
}

Test(report, counts_that_the_bytes_cannot_hold_are_refused_without_allocating)
{
	static const uint32_t bytes[][4] = {
		{0x31505244u, UPD_REPORT_MAX_TARGETS, 0, 0},
		{0x31505244u, UPD_REPORT_MAX_TARGETS + 1, 0, 0},
		{0x31505244u, UINT32_MAX, 0, 0},
		{0x31505245u, 0, 0, 0},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(bytes); i++) {
		struct upd_report back;

		cr_assert_eq(upd_report_decode(bytes[i], sizeof(bytes[i]), &back), -EBADMSG);
	}
}

Test(report, encoder_cuts_long_strings_at_a_character)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};
	UPD_REPORT_CLEAN struct upd_report back = {0};
	INJ_FREE void *bytes = NULL;
	size_t length;
	struct upd_target *target = upd_report_add(&report, 1);
	INJ_FREE char *text = malloc(UPD_REPORT_MAX_STRING + 10);

	/* The bound falls into the middle of a two-byte character. */
	memset(text, 'x', UPD_REPORT_MAX_STRING - 1);
	strcpy(text + UPD_REPORT_MAX_STRING - 1, "\xc3\xbc!");
	set(&target->message, text);
	cr_assert_eq(upd_report_encode(&report, &bytes, &length), 0);
	cr_assert_eq(upd_report_decode(bytes, length, &back), 0);
	cr_assert_eq(strlen(back.targets[0].message), UPD_REPORT_MAX_STRING - 1);
	cr_assert_null(strchr(back.targets[0].message, '?'));
}

Test(report, encoder_refuses_tables_beyond_their_bound)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};
	void *bytes = NULL;
	size_t length;
	struct upd_target *target = upd_report_add(&report, 1);

	target->n_phases = UPD_REPORT_MAX_PHASES + 1;
	target->phases = calloc(target->n_phases, sizeof(*target->phases));
	cr_assert_eq(upd_report_encode(&report, &bytes, &length), -E2BIG);
	cr_assert_null(bytes);
}

Test(report, words_are_those_of_the_contract)
{
	static const char *const words[] = {"applied", "reverted", "unchanged", "refused",
					    "blocked", "failed",   "gone"};

	for (int i = UPD_APPLIED; i <= UPD_GONE; i++)
		cr_assert_str_eq(upd_result_word((enum upd_result)i), words[i - 1]);
	cr_assert_str_eq(upd_result_word((enum upd_result)0), "failed");
	cr_assert_str_eq(upd_result_word((enum upd_result)99), "failed");
}
