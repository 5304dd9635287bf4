/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules for blueprints: one made for a living target passes, and each change that an attacker
 * would want is refused; so is whatever a broken or hostile reader might send. And what a reader
 * may have opened.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "injector/base/clock.h"
#include "injector/symbol/file.h"
#include "protocols/blueprint.h"
#include "protocols/reader-priv.h"
#include "protocols/update.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

TestSuite(blueprint, .timeout = 120);

#define N_RANDOM 20000

struct drawn {
	struct victim *victim;
	struct upd_subject subject;
	struct upd_request request;
	struct upd_blueprint_facts facts;
	uint8_t *bytes;
	size_t n;
};

static void draw(struct drawn *drawn)
{
	const struct upd_patience patience = { inj_now_ns() + 60000000000ull, -1 };
	struct upd_message answer = UPD_MESSAGE_NONE;
	struct upd_ask_plan ask = {
		.n_members = 1, .protocol = "safe-redefine", .update_id = "fifteen letters"};
	struct upd_reader *reader;
	struct inj_why why = {};

	need_root();
	*drawn = (struct drawn){ .victim = victim_start("single", NULL) };
	drawn->request.patch_fd =
		open(build_path("tests/patches/live/greeting-v2.so"), O_RDONLY | O_CLOEXEC);
	drawn->request.patch_name = "greeting-v2.so";
	upd_subject_init(&drawn->subject, drawn->victim->pid);
	drawn->subject.request = &drawn->request;
	cr_assert_eq(upd_subject_open(&drawn->subject), 0, "%s", drawn->subject.why.text);
	cr_assert_eq(upd_subject_reader(&drawn->subject, &reader, &why), 0, "%s", why.text);
	cr_assert_eq(upd_reader_ask(reader, UPD_ASK_PLAN, &ask, sizeof(ask), UPD_SHEET_MAX_BYTES,
				    &patience, &answer, &why),
		     0, "%s", why.text);
	drawn->bytes = answer.bytes;
	drawn->n = answer.n_bytes;
	drawn->facts = (struct upd_blueprint_facts){
		.maps = upd_reader_maps(reader), .history = &drawn->subject.history, .n_members = 1,
		.protocol = "safe-redefine",
	};
	memcpy(drawn->facts.update_id, ask.update_id, sizeof(ask.update_id));
}

static void forget(struct drawn *drawn)
{
	upd_subject_deinit(&drawn->subject);
	victim_free(drawn->victim);
	free(drawn->bytes);
}
#define DRAWN INJ_CLEANUP(forget) struct drawn

/* Check a copy that somebody changed. Return: as upd_blueprint_check(). */
static int check(const struct drawn *drawn, const uint8_t *changed, size_t n, struct inj_why *why)
{
	INJ_CLEANUP(upd_blueprint_guard) struct upd_blueprint *blueprint = NULL;
	void *copy = malloc(n ? n : 1);

	memcpy(copy, changed, n);
	return upd_blueprint_check(copy, n, &drawn->facts, &blueprint, why);
}

struct sheet_view {
	struct upd_sheet *sheet;
	struct dsu_ledger *record;
	struct dsu_ledger_area *areas;
	struct dsu_ledger_site *site;
	inj_addr heap; /* writable memory of the target */
	inj_addr vdso;
};

static inj_addr named(const struct drawn *drawn, const char *name)
{
	for (size_t i = 0; i < drawn->facts.maps->n_items; i++)
		if (strcmp(drawn->facts.maps->items[i].name, name) == 0)
			return drawn->facts.maps->items[i].range.start;
	cr_assert_fail("there is no %s", name);
	return 0;
}

static struct dsu_ledger_area *area_of(struct sheet_view *view, uint32_t kind)
{
	for (size_t i = 0; i < view->record->n_areas; i++)
		if (view->areas[i].kind == kind)
			return &view->areas[i];
	cr_assert_fail("there is no area of kind %u", kind);
	return NULL;
}

static void site_on_the_stack(struct sheet_view *v) { v->site->address = v->heap; }
static void site_in_the_vdso(struct sheet_view *v) { v->site->address = v->vdso; }
static void endless_site(struct sheet_view *v) { v->site->size = 1ull << 40; }
static void other_jump(struct sheet_view *v) { v->site->writes[0].after[1] ^= 1; }
static void no_jump(struct sheet_view *v) { v->site->writes[0].after[0] = 0xcc; }
static void elsewhere(struct sheet_view *v) { v->site->writes[0].address += 64; }
static void stub_elsewhere(struct sheet_view *v) { v->site->stub = v->heap; }
static void replaced_by_the_stack(struct sheet_view *v) { v->site->replacement = v->heap; }
static void replaced_by_data(struct sheet_view *v) { v->site->replacement = v->record->control; }
static void over_the_stack(struct sheet_view *v) { area_of(v, DSU_AREA_FRAMES)->address = v->heap; }
static void over_another(struct sheet_view *v)
{
	area_of(v, DSU_AREA_FRAMES)->address = area_of(v, DSU_AREA_STUBS)->address;
}
static void outside_of_the_file(struct sheet_view *v)
{
	area_of(v, DSU_AREA_PADS)->offset = v->sheet->memfd_bytes;
}
static void writable_stubs(struct sheet_view *v)
{
	area_of(v, DSU_AREA_STUBS)->prot = PROT_READ | PROT_WRITE;
}
static void executable_frames(struct sheet_view *v)
{
	area_of(v, DSU_AREA_FRAMES)->prot = PROT_READ | PROT_EXEC;
}
static void high_control(struct sheet_view *v)
{
	v->record->control = v->areas[0].address = 1ull << 40;
}
static void two_controls(struct sheet_view *v) { v->areas[3].kind = DSU_AREA_CONTROL; }
static void other_update(struct sheet_view *v) { v->record->update_id[3] ^= 1; }
static void more_members(struct sheet_view *v) { v->record->n_members = 2; }
static void other_sequence(struct sheet_view *v) { v->sheet->sequence += 1000; }
static void strange_id(struct sheet_view *v) { ((char *)v->record)[v->record->patch_id] = '\n'; }
static void huge_memory(struct sheet_view *v) { v->sheet->memfd_bytes = 1ull << 40; }
static void unwinder_on_the_stack(struct sheet_view *v)
{
	v->sheet->tell = v->sheet->forget = v->heap;
}
static void many_late(struct sheet_view *v) { v->sheet->n_late = 1u << 30; }
static void many_pieces(struct sheet_view *v) { v->sheet->n_pieces = UINT32_MAX; }
static void long_record(struct sheet_view *v) { v->record->total_bytes = 1u << 30; }
static void many_sites(struct sheet_view *v) { v->record->n_sites = 1u << 20; }

static const struct {
	const char *name;
	void (*change)(struct sheet_view *view);
} attacks[] = {
#define ATTACK(name) { #name, name }
	ATTACK(site_on_the_stack), ATTACK(site_in_the_vdso),
	ATTACK(endless_site),	   ATTACK(other_jump),
	ATTACK(no_jump),	   ATTACK(elsewhere),
	ATTACK(stub_elsewhere),	   ATTACK(replaced_by_the_stack),
	ATTACK(replaced_by_data),  ATTACK(over_the_stack),
	ATTACK(over_another),	   ATTACK(outside_of_the_file),
	ATTACK(writable_stubs),	   ATTACK(executable_frames),
	ATTACK(high_control),	   ATTACK(two_controls),
	ATTACK(other_update),	   ATTACK(more_members),
	ATTACK(other_sequence),	   ATTACK(strange_id),
	ATTACK(huge_memory),	   ATTACK(unwinder_on_the_stack),
	ATTACK(many_late),	   ATTACK(many_pieces),
	ATTACK(long_record),	   ATTACK(many_sites),
};

static void view_of(const struct drawn *drawn, uint8_t *bytes, struct sheet_view *ret)
{
	ret->sheet = (void *)bytes;
	ret->record = (void *)(bytes + sizeof(*ret->sheet));
	ret->areas = (void *)((uint8_t *)ret->record + ret->record->areas);
	ret->site = (void *)((uint8_t *)ret->record + ret->record->sites);
	ret->heap = named(drawn, "[stack]");
	ret->vdso = named(drawn, "[vdso]");
}

static void sign(struct dsu_ledger *record, const struct upd_sheet *sheet)
{
	if (record->total_bytes <= sheet->n_ledger_bytes)
		record->checksum = inj_ledger_checksum(record, record->total_bytes);
}

Test(blueprint, of_an_attacker_is_refused)
{
	DRAWN drawn;
	struct inj_why why = {};

	draw(&drawn);
	cr_assert_eq(check(&drawn, drawn.bytes, drawn.n, &why), 0, "%s", why.text);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(attacks); i++) {
		INJ_FREE uint8_t *bytes = malloc(drawn.n);
		struct sheet_view view;

		memcpy(bytes, drawn.bytes, drawn.n);
		view_of(&drawn, bytes, &view);
		attacks[i].change(&view);
		sign(view.record, view.sheet);
		cr_expect_eq(check(&drawn, bytes, drawn.n, &why), INJ_BAD_PATCH, "%s passes",
			     attacks[i].name);
	}
}

/* Never a crash, never a read outside: the buffers are exact, for sanitizers and valgrind. */
Test(blueprint, of_chance_does_no_harm)
{
	uint64_t state = 88172645463325252ull;
	size_t n_refused = 0;
	DRAWN drawn;

	draw(&drawn);
	for (size_t i = 0; i < N_RANDOM; i++) {
		INJ_FREE uint8_t *bytes = malloc(drawn.n);
		struct sheet_view view;
		/* Most of the bytes are code, about which there is no rule. */
		const size_t most = sizeof(struct upd_sheet) + 1024;
		size_t n = drawn.n;

		memcpy(bytes, drawn.bytes, drawn.n);
		view_of(&drawn, bytes, &view);
		for (unsigned k = 0; k < 1 + i % 3; k++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			bytes[(state >> 8) % most] = (uint8_t)(state & 1 ? state >> 40 : 0xff);
		}
		sign((void *)(bytes + sizeof(struct upd_sheet)), (void *)bytes);
		if (i % 16 == 0)
			n = (state >> 20) % drawn.n;
		n_refused += check(&drawn, bytes, n, NULL) != 0;
	}
	cr_expect_gt(n_refused, N_RANDOM / 2);
}

/* One wish of a reader. Return: what the broker answered; ret_fd: what it gave, or -1. */
static int64_t wish(struct drawn *drawn, uint32_t kind, const void *bytes, size_t n, int *ret_fd)
{
	const struct upd_patience patience = { inj_now_ns() + 10000000000ull, -1 };
	struct upd_message want = {
		.kind = kind, .bytes = (void *)(uintptr_t)bytes, .n_bytes = n, .fd = -1};
	struct upd_broker broker = { .process = drawn->subject.process,
				     .may_open_files = true };
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	struct upd_give give;
	int pair[2];

	cr_assert_eq(inj_maps_read(drawn->subject.process, &broker.maps, NULL), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(upd_broker_answer(&broker, pair[0], &want, &patience), 0);
	cr_assert_eq(upd_message_receive(pair[1], 1u << 20, patience.deadline_ns, -1, &answer), 0);
	cr_assert_eq(answer.kind, UPD_GIVE);
	memcpy(&give, answer.bytes, sizeof(give));
	*ret_fd = inj_take_fd(&answer.fd);
	close(pair[0]);
	close(pair[1]);
	upd_broker_deinit(&broker);
	return give.result;
}

static void expect_refused(struct drawn *drawn, uint32_t kind, const void *bytes, size_t n,
			   const char *what)
{
	int fd;

	cr_expect_lt(wish(drawn, kind, bytes, n, &fd), 0, "%s is given", what);
	cr_expect_eq(fd, -1, "%s is given", what);
}

Test(blueprint, wishes_for_anything_else_are_refused)
{
	static const char *const names[] = {"mem",  "environ", "../1/maps",  "root/etc/passwd",
					    "fd/0", "cwd",     "pagemap/..", ""};
	static const char *const texts[] = {
		"../../../etc/shadow", "/etc/shadow", "..", ".", "", "passwd"};
	struct inj_debug_name debug = {};
	DRAWN drawn;
	inj_addr start;
	int fd;

	draw(&drawn);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++) {
		uint8_t read[256] = { 0, 0, 1 };

		expect_refused(&drawn, UPD_WANT_OPEN, names[i], strlen(names[i]) + 1, names[i]);
		memcpy(read + 8, names[i], strlen(names[i]) + 1);
		expect_refused(&drawn, UPD_WANT_READ, read, 8 + strlen(names[i]) + 1, names[i]);
	}
	expect_refused(&drawn, UPD_WANT_OPEN, "pagemap", 7, "a name without end");
	start = named(&drawn, "[stack]");
	expect_refused(&drawn, UPD_WANT_MAPPED, &start, sizeof(start), "the stack");
	for (size_t i = 0; i < drawn.facts.maps->n_items; i++) {
		const struct inj_map *map = &drawn.facts.maps->items[i];

		if (map->offset != 0 || map->name[0] != '/')
			continue;
		start = map->range.start;
		cr_expect_eq(wish(&drawn, UPD_WANT_MAPPED, &start, sizeof(start), &fd), 0, "%s",
			     map->name);
		cr_expect_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
		close(fd);
		start++;
		expect_refused(&drawn, UPD_WANT_MAPPED, &start, sizeof(start),
			       "no mapping's start");
	}
	debug.module = drawn.facts.maps->items[0].range.start;
	for (debug.root = 0; debug.root < 4; debug.root++)
		for (debug.place = 0; debug.place < 6; debug.place++)
			for (size_t i = 0; i < INJ_ARRAY_LENGTH(texts); i++) {
				snprintf(debug.text, sizeof(debug.text), "%s", texts[i]);
				expect_refused(&drawn, UPD_WANT_DEBUG, &debug, sizeof(debug),
					       texts[i]);
			}
	memset(debug.text, 'a', sizeof(debug.text));
	debug.root = debug.place = 0;
	expect_refused(&drawn, UPD_WANT_DEBUG, &debug, sizeof(debug), "a name without end");
}
