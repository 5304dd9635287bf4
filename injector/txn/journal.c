/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal file: a header and one fixed-size record a target, each with its own checksum and
 * each written by one pwrite, so that a death between two writes leaves every record whole. A
 * record is written before the step that it announces.
 */
#include "injector/txn/journal.h"

#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "injector/base/fault-point.h"

#define JOURNAL_MAGIC 0x314c4e524a555344ull /* "DSUJRNL1"; the last character is the version */
#define MAGIC_BITS 0x00ffffffffffffffull

struct file_header {
	uint64_t magic;
	uint8_t update_id[16];
	uint32_t kind;
	uint32_t n_targets;
	uint32_t decided;
	uint32_t checksum; /* CRC-32 of what stands before it */
	uint64_t reserved[3];
};

struct file_target {
	uint64_t start_ticks;
	uint64_t ledger;
	int32_t pid;
	uint32_t step;
	uint32_t flags;
	uint32_t checksum; /* CRC-32 of what stands before it */
};

_Static_assert(sizeof(struct file_header) == 64, "INJ_JOURNAL_BYTES counts on it");
_Static_assert(sizeof(struct file_target) == 32, "INJ_JOURNAL_BYTES counts on it");

struct inj_journal {
	int fd;
	struct file_header header;
	struct own_target {
		struct file_target record;
		size_t place; /* in the file */
	} *targets;
	size_t n_targets;
};

#define NO_PLACE SIZE_MAX

static uint32_t header_sum(const struct file_header *header)
{
	return (uint32_t)crc32(0, (const void *)header, offsetof(struct file_header, checksum));
}

static uint32_t target_sum(const struct file_target *target)
{
	return (uint32_t)crc32(0, (const void *)target, offsetof(struct file_target, checksum));
}

static int put(int fd, const void *bytes, size_t length, size_t offset)
{
	ssize_t n;

	if (fd < 0)
		return 0;
	do
		n = pwrite(fd, bytes, length, (off_t)offset);
	while (n < 0 && errno == EINTR);
	inj_fault_point("journal-written");
	if (n < 0)
		return -errno;
	return n == (ssize_t)length ? 0 : -ENOSPC;
}

static int put_header(struct inj_journal *journal)
{
	journal->header.checksum = header_sum(&journal->header);
	return put(journal->fd, &journal->header, sizeof(journal->header), 0);
}

static int put_target(struct inj_journal *journal, size_t i)
{
	struct own_target *target = &journal->targets[i];

	if (target->place == NO_PLACE)
		return 0;
	target->record.checksum = target_sum(&target->record);
	return put(journal->fd, &target->record, sizeof(target->record),
		   sizeof(journal->header) + target->place * sizeof(target->record));
}

static int make(int fd, size_t n, struct inj_journal **ret)
{
	INJ_CLEANUP(inj_journal_guard) struct inj_journal *journal = calloc(1, sizeof(*journal));

	if (!journal)
		return -ENOMEM;
	journal->fd = fd;
	journal->n_targets = n;
	journal->targets = calloc(n ? n : 1, sizeof(*journal->targets));
	if (!journal->targets)
		return -ENOMEM;
	*ret = INJ_TAKE(journal);
	return 0;
}

int inj_journal_begin(int fd, const uint8_t update_id[16], unsigned kind,
		      const struct inj_process *const *processes, size_t n,
		      struct inj_journal **ret)
{
	INJ_CLEANUP(inj_journal_guard) struct inj_journal *journal = NULL;
	int r = make(fd, n, &journal);

	if (r < 0)
		return r;
	journal->header = (struct file_header){
		.magic = JOURNAL_MAGIC, .kind = kind, .n_targets = (uint32_t)n,
	};
	memcpy(journal->header.update_id, update_id, sizeof(journal->header.update_id));
	for (size_t i = 0; r == 0 && i < n; i++) {
		journal->targets[i] = (struct own_target){
			.record = {.start_ticks = processes[i]->start_ticks,
				   .pid = processes[i]->pid,
				   .step = INJ_JOURNAL_READING},
			.place = i,
		};
		r = put_target(journal, i);
	}
	/* The header last: a journal without one is empty. */
	if (r == 0)
		r = put_header(journal);
	if (r == 0)
		*ret = INJ_TAKE(journal);
	return r;
}

void inj_journal_free(struct inj_journal *journal)
{
	if (!journal)
		return;
	free(journal->targets);
	free(journal);
}

int inj_journal_mark(struct inj_journal *journal, size_t i, enum inj_journal_step step)
{
	journal->targets[i].record.step = step;
	return put_target(journal, i);
}

int inj_journal_set_guarded(struct inj_journal *journal, size_t i, bool guarded)
{
	uint32_t *flags = &journal->targets[i].record.flags;

	*flags = guarded ? *flags | INJ_JOURNAL_GUARDED : *flags & ~INJ_JOURNAL_GUARDED;
	return put_target(journal, i);
}

void inj_journal_ledger(struct inj_journal *journal, size_t i, inj_addr ledger)
{
	journal->targets[i].record.ledger = ledger;
}

inj_addr inj_journal_ledger_of(const struct inj_journal *journal, size_t i)
{
	return journal->targets[i].record.ledger;
}

int inj_journal_decide(struct inj_journal *journal)
{
	journal->header.decided = 1;
	return put_header(journal);
}

static int get(int fd, void *bytes, size_t length, size_t offset)
{
	ssize_t n = pread(fd, bytes, length, (off_t)offset);

	if (n < 0)
		return -errno;
	return n == (ssize_t)length ? 0 : -EBADMSG;
}

bool inj_journal_is_foreign(int fd)
{
	uint64_t magic;

	return get(fd, &magic, sizeof(magic), 0) == 0 && magic != JOURNAL_MAGIC &&
	       (magic & MAGIC_BITS) == (JOURNAL_MAGIC & MAGIC_BITS);
}

int inj_journal_read(int fd, struct inj_journal_view *ret)
{
	struct inj_journal_view view = {};
	struct file_header header;
	int r = get(fd, &header, sizeof(header), 0);

	if (inj_journal_is_foreign(fd))
		return -EPROTONOSUPPORT;
	if (r < 0)
		return r;
	if (header.magic != JOURNAL_MAGIC || header.checksum != header_sum(&header) ||
	    header.n_targets > INJ_JOURNAL_MAX_TARGETS)
		return -EBADMSG;
	memcpy(view.update_id, header.update_id, sizeof(view.update_id));
	view.kind = header.kind;
	view.decided = header.decided;
	view.targets = calloc(header.n_targets ? header.n_targets : 1, sizeof(*view.targets));
	if (!view.targets)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < header.n_targets; i++) {
		struct file_target target;

		r = get(fd, &target, sizeof(target), sizeof(header) + i * sizeof(target));
		if (r == 0 && (target.checksum != target_sum(&target) || target.pid <= 0 ||
			       target.step < INJ_JOURNAL_READING ||
			       target.step > INJ_JOURNAL_DONE))
			r = -EBADMSG;
		if (r == 0)
			view.targets[view.n_targets++] = (struct inj_journal_target){
				.pid = target.pid, .step = (enum inj_journal_step)target.step,
				.start_ticks = target.start_ticks, .flags = target.flags,
				.ledger = target.ledger,
			};
	}
	if (r < 0)
		inj_journal_view_deinit(&view);
	else
		*ret = view;
	return r;
}

static size_t place_of(const struct inj_journal_view *view, const struct inj_process *process)
{
	for (size_t i = 0; process && i < view->n_targets; i++)
		if (view->targets[i].pid == process->pid &&
		    view->targets[i].start_ticks == process->start_ticks)
			return i;
	return NO_PLACE;
}

int inj_journal_resume(int fd, const struct inj_process *const *processes, size_t n,
		       struct inj_journal **ret)
{
	INJ_CLEANUP(inj_journal_guard) struct inj_journal *journal = NULL;
	INJ_CLEANUP(inj_journal_view_deinit) struct inj_journal_view view = {};
	int r = inj_journal_read(fd, &view);

	if (r == 0)
		r = make(fd, n, &journal);
	if (r == 0)
		r = get(fd, &journal->header, sizeof(journal->header), 0);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		size_t place = place_of(&view, processes[i]);

		journal->targets[i].place = place;
		if (place == NO_PLACE)
			continue;
		r = get(fd, &journal->targets[i].record, sizeof(journal->targets[i].record),
			sizeof(journal->header) + place * sizeof(journal->targets[i].record));
		if (r < 0)
			return r;
	}
	*ret = INJ_TAKE(journal);
	return 0;
}

void inj_journal_view_deinit(struct inj_journal_view *view)
{
	free(view->targets);
	*view = (struct inj_journal_view){};
}
