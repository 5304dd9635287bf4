/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker runs out of memory at every place that allocates, once or from there on, applying,
 * reverting and recovering. It must carry its work through or say that it did not; the target must
 * then be exactly what was said. A worker may not crash for it.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/types.h"
#include "tests/fault/deaths.h"
#include "tests/fault/failing-malloc.h"
#include "tests/support/need.h"

TestSuite(no_memory, .timeout = 3000);

struct road {
	char program[16];
	enum upd_kind kind;
	char first[32]; /* recover: where the worker dies */
	unsigned how; /* of enum failing_malloc */
	size_t limit; /* fails at no more allocations than this, unless it is a soak */
};

/* Shared with the worker. */
struct account {
	size_t n_allocations;
	char message[4096];
};

/*
 * What a worker says with its exit status; after the last two the daemon starts another one to
 * recover.
 */
enum end { DONE, REFUSED = 3, UNSETTLED = 4, SPEECHLESS = 5 };

static void prepare(struct scene *scene, const struct road *road)
{
	scene_init(scene, road->program, 1, 3);
	if (road->kind == UPD_REVERT) {
		scene_must(scene, UPD_APPLY, UPD_APPLIED, "before reverting");
		scene_renew(scene);
	}
	if (road->kind == UPD_RECOVER)
		cr_assert(scene_run(scene, UPD_APPLY, "DSUD_FAULT", road->first));
}

/* What a worker lacks. */
enum lack { MEMORY, ADDRESS_SPACE, DESCRIPTORS };

static size_t address_space(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	size_t pages = 0;

	if (!file || fscanf(file, "%zu", &pages) != 1)
		abort();
	fclose(file);
	return pages * INJ_PAGE_BYTES;
}

/* n: what it may have beyond what it has. */
static void limit(enum lack lack, size_t n)
{
	struct rlimit limit = { 0 };
	int fd;

	if (lack == ADDRESS_SPACE) {
		limit.rlim_cur = limit.rlim_max = address_space() + n;
		setrlimit(RLIMIT_AS, &limit);
	} else {
		fd = dup(STDERR_FILENO);
		close(fd);
		limit.rlim_cur = limit.rlim_max = (rlim_t)fd + n;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static enum end work(const struct scene *scene, const struct road *road, enum lack lack, size_t n,
		     struct account *account)
{
	struct upd_request request = {
		.kind = road->kind, .patch_fd = -1, .patch_name = "many.so",
		.patch_id = "many", .timeout_ns = 10000000000u,
		.pids = scene->pids, .n_pids = 1, .journal_fd = scene->journal_fd, .cancel_fd = -1,
	};
	struct upd_report report = { 0 };
	int r;

	memcpy(request.update_id, scene->update_id, sizeof(request.update_id));
	if (road->kind == UPD_APPLY)
		request.patch_fd = open(build_path(scene->patch), O_RDONLY | O_CLOEXEC);
	failing_malloc_arm(lack == MEMORY ? n : 0, road->how);
	if (lack != MEMORY)
		limit(lack, n);
	r = upd_run(&request, &report);
	account->n_allocations = failing_malloc_stop();
	if (r == 0)
		snprintf(account->message, sizeof(account->message), "%d %s",
			 report.targets[0].code, report.targets[0].message);
	if (r < 0)
		return SPEECHLESS;
	if (report.targets[0].code == 0)
		return DONE;
	return report.targets[0].unsettled ? UNSETTLED : REFUSED;
}

/* n: 0 for no failure at all. */
static enum end run(struct scene *scene, const struct road *road, enum lack lack, size_t n,
		    struct account *account)
{
	int status;
	pid_t worker = fork();

	cr_assert_geq(worker, 0);
	if (worker == 0)
		_exit((int)work(scene, road, lack, n, account));
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_assert(WIFEXITED(status), "the worker crashed, %zu of %d: signal %d", n, lack,
		  WTERMSIG(status));
	return (enum end)WEXITSTATUS(status);
}

/* ends: how often it ended how. */
static enum end fail_at(const struct road *road, enum lack lack, size_t n, struct account *account,
			size_t ends[SPEECHLESS + 1])
{
	static const char *const what[] = { "allocation", "bytes of address space", "descriptors" };
	struct scene scene;
	char when[64];
	enum end end;
	bool new;

	snprintf(when, sizeof(when), "%s %zu%s", what[lack], n,
		 road->how & FAILING_FOR_EVER ? " and all after it" : "");
	prepare(&scene, road);
	account->message[0] = '\0';
	end = run(&scene, road, lack, n, account);
	ends[end]++;
	new = scene_is_new(&scene, 0, when);
	cr_expect(road->kind != UPD_RECOVER || end != REFUSED, "%s: %s", when, account->message);
	if (end == UNSETTLED || end == SPEECHLESS)
		scene_must(&scene, UPD_RECOVER, 0, when);
	cr_expect_eq(new,
		     road->kind == UPD_APPLY ? end == DONE :
					       road->kind == UPD_REVERT && end != DONE,
		     "%s: told %d, but new: %d: %s", when, end, new, account->message);
	scene_check(&scene, road->kind == UPD_REVERT, when);
	scene_clean_round(&scene, when);
	scene_deinit(&scene);
	return end;
}

ParameterizedTestParameters(no_memory, at_every_allocation)
{
	static struct road roads[] = {
		{ "many", UPD_APPLY, "", FAILING_ONCE, 1000 },
		{ "many", UPD_APPLY, "", FAILING_FOR_EVER, 60 },
		{ "many", UPD_APPLY, "", FAILING_IN_CHILDREN, 40 },
		{ "many", UPD_APPLY, "", FAILING_IN_CHILDREN | FAILING_FOR_EVER, 20 },
		{ "many", UPD_REVERT, "", FAILING_ONCE, 1000 },
		{ "many", UPD_REVERT, "", FAILING_FOR_EVER, 20 },
		{ "many", UPD_REVERT, "", FAILING_IN_CHILDREN, 20 },
		{ "many", UPD_RECOVER, "site-written:2", FAILING_ONCE, 30 },
		{ "many", UPD_RECOVER, "site-written:2", FAILING_FOR_EVER, 20 },
		{ "many", UPD_RECOVER, "site-written:2", FAILING_IN_CHILDREN, 20 },
		{ "many-static", UPD_APPLY, "", FAILING_ONCE, 60 },
		{ "many-static", UPD_APPLY, "", FAILING_FOR_EVER, 30 },
	};

	return cr_make_param_array(struct road, roads, INJ_ARRAY_LENGTH(roads));
}

static struct account *new_account(void)
{
	struct account *account = mmap(NULL, sizeof(*account), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(account, MAP_FAILED);
	return account;
}

ParameterizedTest(struct road *road, no_memory, at_every_allocation)
{
	struct account *account = new_account();
	size_t ends[SPEECHLESS + 1] = { 0 };
	struct scene scene;
	size_t n, i;

	need_root();
	prepare(&scene, road);
	cr_assert_eq(run(&scene, road, MEMORY, 0, account), DONE);
	scene_deinit(&scene);
	n = account->n_allocations;
	for (size_t turn = 0; (i = choose_pass(n, deaths_limit(road->limit), turn)); turn++)
		fail_at(road, MEMORY, i, account, ends);
	cr_log_info("%s%s, kind %d, %s: %zu allocations; %zu done, %zu refused, %zu settled by "
		    "another, %zu not told", road->program,
		    road->how & FAILING_IN_CHILDREN ? ", its reader" : "", road->kind,
		    road->how & FAILING_FOR_EVER ? "and all after it" : "once", n, ends[DONE],
		    ends[REFUSED], ends[UNSETTLED], ends[SPEECHLESS]);
}

struct scarcity {
	enum lack lack;
	size_t step; /* a little more each time, until it is enough */
	enum upd_kind kind;
};

ParameterizedTestParameters(no_memory, with_too_little)
{
	static struct scarcity scarcities[] = {
		{ ADDRESS_SPACE, 384u << 10, UPD_APPLY }, { ADDRESS_SPACE, 384u << 10, UPD_REVERT },
		{ DESCRIPTORS, 1, UPD_APPLY },		  { DESCRIPTORS, 1, UPD_REVERT },
	};

	return cr_make_param_array(struct scarcity, scarcities, INJ_ARRAY_LENGTH(scarcities));
}

ParameterizedTest(struct scarcity *scarcity, no_memory, with_too_little)
{
	struct account *account = new_account();
	const struct road road = { "many", scarcity->kind, "", FAILING_ONCE, 0 };
	size_t ends[SPEECHLESS + 1] = { 0 };
	size_t i = 0;

	need_root();
	while (fail_at(&road, scarcity->lack, i * scarcity->step, account, ends) != DONE)
		cr_assert_lt(++i, 200, "it is never enough: %s", account->message);
	cr_assert_gt(i, 3);
	cr_log_info("lack %d, kind %d: %zu refused, %zu settled by another, %zu not told",
		    scarcity->lack, scarcity->kind, ends[REFUSED], ends[UNSETTLED],
		    ends[SPEECHLESS]);
}
