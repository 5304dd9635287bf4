/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The facts of one target: identity, mappings, modules, ledgers. Everything here is read while the
 * target runs and may be stale by the time it is used; whoever changes something compares bytes
 * first.
 */
#include "protocols/subject.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "injector/base/clock.h"
#include "injector/process/mem.h"
#include "injector/unwind/known.h"
#include "protocols/blueprint.h"
#include "protocols/plan.h"
#include "protocols/reader.h"
#include "protocols/update.h"

#define N_LOOKS 4
#define LOOK_AGAIN_NS 2000000
#define ATTACH_NS 5000000000ull

int upd_subject_fail(struct upd_subject *subject, int code, const struct inj_why *why)
{
	if (subject->code == 0) {
		subject->code = code;
		if (why != &subject->why)
			subject->why = *why;
	} else if (why != &subject->why) {
		inj_why_append(&subject->why, why);
	}
	return code;
}

static int refresh(struct upd_subject *subject, struct inj_why *why)
{
	int r;

	inj_maps_free(INJ_TAKE(subject->maps));
	inj_history_deinit(&subject->history);
	r = inj_maps_read(subject->process, &subject->maps, why);
	return r ? r : inj_history_read(subject->process, subject->maps, &subject->history, why);
}

int upd_subject_refresh(struct upd_subject *subject)
{
	struct inj_why why = {};
	int r = refresh(subject, &why);

	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

void upd_subject_init(struct upd_subject *subject, pid_t pid)
{
	*subject = (struct upd_subject){ .pid = pid, .memory_fd = -1, .space.fd = -1 };
}

int upd_subject_refuse_unknown(const struct upd_subject *subject, struct inj_why *why)
{
	const struct inj_unknown_ledger *unknown = subject->history.unknown;

	if (subject->history.n_unknown == 0)
		return 0;
	return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
			  "Process %d carries patch %s of another version of dsud (ledger format "
			  "%u, and this one knows %u). Stop this dsud and start that version to "
			  "change the process; both find each other's patches.",
			  subject->pid, unknown->patch_id, unknown->version, DSU_LEDGER_VERSION);
}

static bool lost_its_memory(const struct upd_subject *subject)
{
	uint8_t byte;

	return subject->memory_fd >= 0 && pread(subject->memory_fd, &byte, 1, 0) == 0;
}

void upd_subject_explain(struct upd_subject *subject)
{
	struct inj_why why = {};

	if (subject->code == 0 || subject->code == INJ_PROCESS_GONE || !lost_its_memory(subject))
		return;
	if (inj_process_check(subject->process, &why) == 0)
		upd_subject_check_program(subject, 0, 0, &why);
	subject->code = why.code;
	subject->why = why;
}

int upd_subject_check_program(const struct upd_subject *subject, inj_addr control, inj_addr ledger,
			      struct inj_why *why)
{
	struct dsu_control page;

	if (!lost_its_memory(subject) &&
	    (control == 0 ||
	     (inj_mem_read(subject->process, control, &page, sizeof(page)) == 0 &&
	      page.magic == DSU_CONTROL_MAGIC && page.ledger == ledger)))
		return 0;
	return inj_refuse(why, INJ_PROCESS_GONE,
			  "process %d became another program (exec) meanwhile; look at it again "
			  "and repeat the update",
			  subject->pid);
}

static int read_facts(struct upd_subject *subject, struct inj_why *why)
{
	inj_close_guard(&subject->memory_fd);
	subject->memory_fd = inj_process_openat(subject->process, "mem", O_RDONLY);
	return refresh(subject, why);
}

/* A program that is just being started (exec) has no mappings for a moment, or changes them under
 * our eyes. */
int upd_subject_open(struct upd_subject *subject)
{
	const struct timespec pause = { .tv_nsec = LOOK_AGAIN_NS };
	struct inj_why why = {};
	int r = inj_process_open(subject->pid, &subject->process, &why);

	if (r != 0)
		return upd_subject_fail(subject, r, &why);
	for (int i = 1; (r = read_facts(subject, &why)) != 0 && i < N_LOOKS &&
			inj_process_check(subject->process, NULL) == 0; i++)
		nanosleep(&pause, NULL);
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

int upd_subject_reader(struct upd_subject *subject, struct upd_reader **ret, struct inj_why *why)
{
	const struct upd_patience patience = { inj_now_ns() + ATTACH_NS, -1 };
	int r = 0;

	if (subject->reader && upd_reader_is_dead(subject->reader))
		upd_reader_free(INJ_TAKE(subject->reader));
	if (!subject->reader)
		r = upd_reader_start(subject->request->patch_fd, subject->request->patch_name,
				     &subject->reader, why);
	if (r == 0 && !upd_reader_is_attached(subject->reader))
		r = upd_reader_attach(subject->reader, subject->process, subject->memory_fd,
				      &patience, why);
	if (r == 0)
		*ret = subject->reader;
	return r;
}

void upd_subject_deinit(struct upd_subject *subject)
{
	upd_reader_free(INJ_TAKE(subject->reader));
	inj_sieve_free(INJ_TAKE(subject->sieve));
	inj_walker_free(INJ_TAKE(subject->walker));
	upd_plan_free(INJ_TAKE(subject->plan));
	upd_blueprint_free(INJ_TAKE(subject->blueprint));
	upd_code_map_deinit(&subject->code_map);
	inj_space_deinit(&subject->space);
	inj_writer_free(INJ_TAKE(subject->writer));
	inj_history_deinit(&subject->history);
	inj_modules_free(INJ_TAKE(subject->modules));
	inj_maps_free(INJ_TAKE(subject->maps));
	inj_close_guard(&subject->memory_fd);
	subject->memory_fd = -1;
	inj_process_close(INJ_TAKE(subject->process));
}
