/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Redirects the functions of the corpus libraries in this very process, one after the other, and
 * calls them: while the redirect is inert everything must be as before, in every register and in
 * memory; afterwards the replacement runs; when it is taken away the bytes are the old ones. At
 * every instruction of a stub libgcc's unwinder must find its way.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "injector/redirect/stub-frame.h"
#include "injector/redirect/translate.h"
#include "tests/unit/redirect/corpus.h"
#include "tests/unit/redirect/functions.h"
#include "tests/unit/redirect/harness.h"

#define N_VECTORS 24
#define REGION_BYTES 65536
#define SLOT_BYTES 512
#define N_SLOTS 64
#define FRAMES_OFFSET (N_SLOTS * SLOT_BYTES)
#define NEAR_REPLACEMENT_OFFSET (REGION_BYTES - 64)
#define NEAR_MARK 0x4e454152
#define FAR_MARK 0x464152

/* One corpus library and the memory that serves its stubs. */
struct stage {
	const char *name;
	struct program program;
	const struct corpus_entry *entries;
	size_t n_entries;
	corpus_reset_fn reset;
	uint8_t *region;      /* near the library */
	uint64_t *generation; /* below 2 GiB */
	size_t near, short_, late, refused, checks, moves;
};

struct outcome {
	struct registers out;
	uint8_t scratch[CORPUS_SCRATCH_BYTES];
};

static uint8_t scratch[CORPUS_SCRATCH_BYTES] __attribute__((aligned(64)));

static long harmless(void)
{
	return 4;
}

static long far_replacement(void)
{
	return FAR_MARK;
}

static uint64_t random_state;

static uint64_t draw(void)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return random_state >> 33;
}

static void make_vector(const struct corpus_entry *entry, unsigned i, struct registers *in)
{
	static const char text[] = "123 abcdefgh the quick brown fox, e.g. 42";
	static const int arguments[] = { RDI, RSI, RDX, RCX, R8 };

	random_state = i * 77777u + 5;
	for (unsigned k = 0; k < N_REGISTERS; k++)
		in->general[k] = 0x1111111111111111u * k + draw();
	for (unsigned k = 0; k < 16; k++) {
		double values[2] = { (double)draw() / 65536.0 - 8.0, (double)k };

		memcpy(in->vector[k], values, 16);
	}
	for (unsigned k = 0; k < 5; k++)
		in->general[arguments[k]] = (uint64_t)((int64_t)(draw() % 24) - 4);
	in->general[R9] = (uint64_t)(uintptr_t)harmless;
	for (unsigned k = 0; k < CORPUS_SCRATCH_BYTES; k++)
		scratch[k] = (uint8_t)draw();
	if (entry->kind == CORPUS_STRING)
		memcpy(scratch, text + i % 20, sizeof(text) - i % 20);
	if (entry->kind == CORPUS_MEMORY || entry->kind == CORPUS_STRING)
		in->general[RDI] = (uint64_t)(uintptr_t)scratch;
	if (entry->kind == CORPUS_COUNTED) {
		in->general[RDI] = i % 6;
		in->general[RAX] = 4; /* vector registers used: psABI 3.5.7 */
	}
}

static void call(struct stage *stage, const struct corpus_entry *entry, void *function,
		 unsigned vector, struct outcome *outcome)
{
	struct registers in;

	stage->reset();
	make_vector(entry, vector, &in);
	memset(outcome, 0, sizeof(*outcome));
	harness_call(function, &in, &outcome->out);
	memcpy(outcome->scratch, scratch, sizeof(scratch));
}

/* A function may leave chance in registers that mean nothing: bit k of the mask is register k. */
static uint64_t chance(const struct outcome *a, const struct outcome *b)
{
	uint64_t mask = 0;

	for (unsigned k = 0; k < N_REGISTERS; k++)
		if (a->out.general[k] != b->out.general[k])
			mask |= 1u << k;
	return mask;
}

static bool same(const struct outcome *a, const struct outcome *b, uint64_t mask)
{
	return (chance(a, b) & ~mask) == 0 &&
	       memcmp(a->out.vector, b->out.vector, sizeof(a->out.vector)) == 0 &&
	       memcmp(a->scratch, b->scratch, sizeof(a->scratch)) == 0;
}

static void open_region(struct stage *stage)
{
	inj_addr base = stage->program.bias & ~(INJ_PAGE_BYTES - 1);

	for (unsigned i = 1; i < 100 && !stage->region; i++) {
		void *wanted = (void *)(base - i * 0x1000000u);
		void *got = mmap(wanted, REGION_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

		if (got != MAP_FAILED)
			stage->region = got;
	}
	cr_assert_not_null(stage->region);
	/* mov $NEAR_MARK, %eax; ret */
	memcpy(stage->region + NEAR_REPLACEMENT_OFFSET,
	       (const uint8_t[]){ 0xb8, 0x52, 0x41, 0x45, 0x4e, 0xc3 }, 6);
	stage->generation = mmap(NULL, INJ_PAGE_BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	cr_assert_neq((void *)stage->generation, MAP_FAILED);
}

static void open_stage(const char *name, struct stage *stage)
{
	char path[4096];
	struct link_map *map;
	unsigned long n;

	snprintf(path, sizeof(path), "%s/tests/unit/redirect/%s", getenv("DSU_BUILD_ROOT"), name);
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	cr_assert_not_null(library, "%s", dlerror());
	cr_assert_eq(dlinfo(library, RTLD_DI_LINKMAP, &map), 0);
	*stage = (struct stage){ .name = name };
	cr_assert(program_load(path, map->l_addr, &stage->program));
	corpus_list_fn list = (corpus_list_fn)dlsym(library, "corpus_list");

	stage->reset = (corpus_reset_fn)dlsym(library, "corpus_reset");
	cr_assert(list && stage->reset);
	stage->entries = list(&n);
	stage->n_entries = n;
	open_region(stage);
	cr_assert_eq(mprotect((void *)(map->l_addr + (stage->program.code.start & ~4095ul)),
			      stage->program.code.end - (stage->program.code.start & ~4095ul),
			      PROT_READ | PROT_WRITE | PROT_EXEC), 0);
}

static bool find_text(struct stage *stage, const struct corpus_entry *entry,
		      struct inj_text *ret_text)
{
	inj_addr address = (uint64_t)(uintptr_t)entry->function;

	for (size_t i = 0; i < stage->program.n_functions; i++) {
		if (stage->program.functions[i].start + stage->program.bias != address)
			continue;
		*ret_text = program_text(&stage->program, i);
		ret_text->name = entry->name;
		return true;
	}
	return false;
}

static void put(const struct inj_site_write *write, const uint8_t *bytes)
{
	memcpy((void *)write->address, bytes, write->n);
	__builtin___clear_cache((char *)write->address, (char *)write->address + write->n);
}

/* One function under test. */
struct trial {
	const struct corpus_entry *entry;
	struct inj_site site;
	struct inj_stub stub;
	uint8_t *at;          /* of the stub */
	uint64_t mark;
	struct outcome before[N_VECTORS];
	uint64_t mask;
	struct inj_site_write writes[2];
	size_t n_writes;
};

static void prepare(struct stage *stage, struct trial *trial, size_t i)
{
	bool far = i % 2;
	inj_addr replacement = (uint64_t)(uintptr_t)stage->region + NEAR_REPLACEMENT_OFFSET;
	struct inj_why why;

	trial->at = stage->region + i % N_SLOTS * SLOT_BYTES;
	trial->mark = far ? FAR_MARK : NEAR_MARK;
	if (far)
		replacement = (uint64_t)(uintptr_t)far_replacement;
	cr_assert_eq(inj_stub_emit(&trial->site, (uint64_t)(uintptr_t)trial->at,
				   (uint64_t)(uintptr_t)stage->generation, replacement,
				   &trial->stub, &why),
		     0, "%s: %s", trial->entry->name, why.text);
	memcpy(trial->at, trial->stub.bytes, trial->stub.n_bytes);
	cr_assert_eq(inj_site_writes(&trial->site, (uint64_t)(uintptr_t)trial->at, trial->writes,
				     &trial->n_writes), 0);
	trial->mask = 0;
	for (unsigned v = 0; v < N_VECTORS; v++) {
		struct outcome again;

		call(stage, trial->entry, trial->entry->function, v, &trial->before[v]);
		call(stage, trial->entry, trial->entry->function, v, &trial->before[v]);
		call(stage, trial->entry, trial->entry->function, v, &again);
		trial->mask |= chance(&trial->before[v], &again);
	}
	cr_assert_eq(trial->mask & (1u << RAX), 0, "%s is no use", trial->entry->name);
}

static void install(struct trial *trial)
{
	for (size_t i = 0; i < trial->n_writes; i++) {
		cr_assert_eq(memcmp((void *)trial->writes[i].address, trial->writes[i].old,
				    trial->writes[i].n), 0, "%s", trial->entry->name);
		put(&trial->writes[i], trial->writes[i].new);
	}
}

static void uninstall(struct trial *trial)
{
	for (size_t i = trial->n_writes; i-- > 0;)
		put(&trial->writes[i], trial->writes[i].old);
}

static void expect_old(struct stage *stage, struct trial *trial, void *function, const char *when)
{
	for (unsigned v = 0; v < N_VECTORS; v++) {
		struct outcome now;

		call(stage, trial->entry, function, v, &now);
		cr_assert(same(&trial->before[v], &now, trial->mask),
			  "%s: %s, %s, vector %u: rax %llx instead of %llx", stage->name,
			  trial->entry->name, when, v, (unsigned long long)now.out.general[RAX],
			  (unsigned long long)trial->before[v].out.general[RAX]);
	}
}

static void expect_new(struct stage *stage, struct trial *trial)
{
	struct outcome now;

	call(stage, trial->entry, trial->entry->function, 3, &now);
	cr_assert_eq((uint32_t)now.out.general[RAX], trial->mark, "%s: %s runs %llx", stage->name,
		     trial->entry->name, (unsigned long long)now.out.general[RAX]);
}

/* Step through one call; the unwinder must understand every instruction of the stub. */
static void expect_unwindable(struct stage *stage, struct trial *trial, unsigned vector)
{
	const struct inj_stub *stubs[] = { &trial->stub };
	inj_addr address = (uint64_t)(uintptr_t)trial->at;
	uint8_t *frames = stage->region + FRAMES_OFFSET;
	struct registers in, out;
	uint64_t pc;
	size_t n;

	cr_assert_eq(inj_stub_frames(stubs, &address, 1, (uint64_t)(uintptr_t)frames, frames, 4096,
				     &n), 0);
	stage->reset();
	make_vector(trial->entry, vector, &in);
	int checks = harness_trace(trial->entry->function, frames, &in, &out, address,
				   address + trial->stub.n_bytes, &pc);

	cr_assert_geq(checks, 1, "%s: %s cannot be unwound at stub + %llu", stage->name,
		      trial->entry->name, (unsigned long long)(pc - address));
	stage->checks += (size_t)checks;
}

/*
 * A thread that stands among the bytes to be overwritten is moved to the stub, wherever it stands:
 * it must finish its call as if nothing had happened.
 */
static void expect_movable(struct stage *stage, struct trial *trial, unsigned vector)
{
	inj_addr address = (uint64_t)(uintptr_t)trial->at;
	struct inj_detour detour = inj_site_detour(&trial->site, &trial->stub, address);

	for (unsigned k = 0; k < 9; k++) {
		inj_addr from = trial->site.address + k;
		inj_addr to = inj_site_translate_into_stub(&detour, from);
		struct outcome now = { .scratch = { 0 } };
		struct registers in;

		if (to == 0 || to == from)
			continue;
		stage->reset();
		make_vector(trial->entry, vector, &in);
		if (harness_divert(trial->entry->function, &in, &now.out, from, to))
			stage->moves++;
		memcpy(now.scratch, scratch, sizeof(scratch));
		cr_assert(same(&trial->before[vector], &now, trial->mask), "%s: %s moved at +%u",
			  stage->name, trial->entry->name, k);
	}
}

static void count(struct stage *stage, const struct inj_site *site)
{
	stage->near += site->kind == INJ_SITE_NEAR;
	stage->short_ += site->kind == INJ_SITE_SHORT;
	stage->late += site->kind == INJ_SITE_LATE;
}

static void try_function(struct stage *stage, size_t i)
{
	struct trial trial = { .entry = &stage->entries[i] };
	struct inj_text text;
	struct inj_why why;

	cr_assert(find_text(stage, trial.entry, &text), "%s has no FDE", trial.entry->name);
	int r = inj_site_examine(&text, &trial.site, &why);

	if (r == INJ_FUNCTION_TOO_SHORT) {
		cr_assert_lt(text.size, 5, "%s", why.text);
		stage->refused++;
		return;
	}
	cr_assert_eq(r, 0, "%s", why.text);
	count(stage, &trial.site);
	prepare(stage, &trial, i);
	*stage->generation = 0;
	if (trial.site.kind != INJ_SITE_LATE) {
		expect_movable(stage, &trial, 3);
		expect_movable(stage, &trial, 11);
	}
	install(&trial);
	if (trial.site.kind != INJ_SITE_LATE) {
		expect_old(stage, &trial, trial.entry->function, "inert");
		expect_old(stage, &trial, trial.at + trial.stub.old_path, "old path");
		expect_unwindable(stage, &trial, 3);
		expect_unwindable(stage, &trial, 11);
	}
	*stage->generation = 1;
	expect_new(stage, &trial);
	expect_unwindable(stage, &trial, 3);
	*stage->generation = 0;
	if (trial.site.kind != INJ_SITE_LATE)
		expect_old(stage, &trial, trial.entry->function, "taken back");
	uninstall(&trial);
	cr_assert_eq(memcmp((const void *)(text.address - text.before), text.bytes,
			    text.before + text.size + text.after), 0, "%s", trial.entry->name);
	expect_old(stage, &trial, trial.entry->function, "removed");
}

struct library {
	char name[48];
};

static struct library libraries[] = {
	{ "corpus-gcc-O0.so" },	  { "corpus-gcc-O1.so" },    { "corpus-gcc-O2.so" },
	{ "corpus-gcc-O3.so" },	  { "corpus-gcc-Os.so" },    { "corpus-gcc-cet.so" },
	{ "corpus-gcc-native.so" }, { "corpus-gcc-split.so" },
	{ "corpus-clang-O0.so" }, { "corpus-clang-O1.so" },  { "corpus-clang-O2.so" },
	{ "corpus-clang-Os.so" }, { "corpus-clang-cet.so" }, { "corpus-clang-Oz.so" },
};

static bool is_built(const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/tests/unit/redirect/%s", getenv("DSU_BUILD_ROOT"), name);
	return access(path, R_OK) == 0;
}

ParameterizedTestParameters(execute, equivalence)
{
	return cr_make_param_array(struct library, libraries, INJ_ARRAY_LENGTH(libraries), NULL);
}

ParameterizedTest(struct library *library, execute, equivalence, .timeout = 120)
{
	struct stage stage;

	if (!is_built(library->name))
		cr_skip_test("%s is not built: clang is not installed", library->name);
	open_stage(library->name, &stage);
	for (size_t i = 0; i < stage.n_entries; i++)
		try_function(&stage, i);
	printf("%-24s %zu functions: %zu near, %zu short, %zu late, %zu too short; unwound at %zu "
	       "instructions, moved %zu times\n", library->name, stage.n_entries, stage.near,
	       stage.short_, stage.late, stage.refused, stage.checks, stage.moves);
	cr_assert_gt(stage.n_entries, 200);
	cr_assert_gt(stage.moves, 50);
	cr_assert(stage.near > 0 && stage.short_ > 0 && stage.late > 0);
	cr_assert_lt(stage.refused * 5, stage.n_entries);
}
