/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the state directory. Always holds: the list of targets is complete before the journal
 * exists, so a journal without targets never began; the room of a journal is reserved before the
 * worker starts, so a full disk is met while the targets are untouched. The journal's lock lives
 * as long as anybody has it open: a worker that outlives its daemon keeps it.
 * Refuses a directory that others may write.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "dsud/contract.h"
#include "dsud/log.h"
#include "dsud/registry/journal.h"
#include "injector/base/cleanup.h"
#include "injector/base/fault-point.h"
#include "protocols/update.h"

/* Room for a record of every target of the largest update, with much to spare. */
#define JOURNAL_BYTES (32u << 10)
#define MAX_LEFTOVERS 1024
#define NAME_BYTES (sizeof("journal-") + 2 * DSUD_UPDATE_ID_BYTES)

static void name_file(char name[static NAME_BYTES], const char *prefix, const uint8_t *id)
{
	size_t used = (size_t)snprintf(name, NAME_BYTES, "%s-", prefix);

	for (size_t i = 0; i < DSUD_UPDATE_ID_BYTES; i++)
		used += (size_t)snprintf(name + used, NAME_BYTES - used, "%02x", id[i]);
}

static bool parse_id(const char *text, uint8_t *ret_id)
{
	if (strlen(text) != 2 * DSUD_UPDATE_ID_BYTES)
		return false;
	for (size_t i = 0; i < DSUD_UPDATE_ID_BYTES; i++) {
		if (!isxdigit((unsigned char)text[2 * i]) ||
		    !isxdigit((unsigned char)text[2 * i + 1]))
			return false;
		ret_id[i] = (uint8_t)strtoul((char[]){text[2 * i], text[2 * i + 1], '\0'}, NULL,
					     16);
	}
	return true;
}

static void read_boot_id(char *buffer, size_t size)
{
	INJ_CLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buffer, size - 1) : 0;

	buffer[n > 0 ? n : 0] = '\0';
	buffer[strcspn(buffer, "\n")] = '\0';
}

/* --- the directory ------------------------------------------------------------------------ */

/* The last two levels, as in /run/dsud/state on a host whose /run was just made. */
static int make_directory(const char *path)
{
	char parent[PATH_MAX];
	char *slash;

	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT || strlen(path) >= sizeof(parent))
		return -errno;
	strcpy(parent, path);
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return -ENOENT;
	*slash = '\0';
	if (mkdir(parent, 0755) < 0 && errno != EEXIST)
		return -errno;
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int open_directory(struct dsud_state_dir *dir, struct inj_why *why)
{
	struct stat status;
	int r = make_directory(dir->path);

	if (r < 0)
		return inj_broke(why, r, "Cannot create the state directory %s", dir->path);
	dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir->fd < 0 || fstat(dir->fd, &status) < 0)
		return inj_broke(why, -errno, "Cannot open the state directory %s", dir->path);
	if (status.st_uid != geteuid() || (status.st_mode & 022))
		return inj_refuse(why, INJ_INTERNAL,
				  "Others may write to the state directory %s. Make it belong to "
				  "root with mode 0700, or name another with --state-dir.",
				  dir->path);
	return 0;
}

static int lock_directory(struct dsud_state_dir *dir, struct inj_why *why)
{
	dir->lock_fd = openat(dir->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (dir->lock_fd < 0)
		return inj_broke(why, -errno, "Cannot open %s/lock", dir->path);
	if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return inj_broke(why, -errno, "Cannot lock %s/lock", dir->path);
	return inj_refuse(
		why, INJ_BUSY,
		"Another dsud uses the state directory %s. Stop it first, or name another "
		"with --state-dir.",
		dir->path);
}

int dsud_state_dir_init(const char *path, struct dsud_state_dir *ret, struct inj_why *why)
{
	struct dsud_state_dir dir = {.path = strdup(path), .fd = -1, .lock_fd = -1};
	int r = dir.path ? 0 : -ENOMEM;

	if (r == 0)
		r = open_directory(&dir, why);
	if (r == 0)
		r = lock_directory(&dir, why);
	if (r != 0) {
		dsud_state_dir_deinit(&dir);
		return r;
	}
	*ret = dir;
	return 0;
}

void dsud_state_dir_deinit(struct dsud_state_dir *dir)
{
	if (!dir)
		return;
	inj_close_guard(&dir->fd);
	inj_close_guard(&dir->lock_fd);
	free(dir->path);
	*dir = (struct dsud_state_dir){.fd = -1, .lock_fd = -1};
}

/* --- one update --------------------------------------------------------------------------- */

static int write_targets(const struct dsud_state_dir *dir, const char *name,
			 const struct dsud_subject *subjects, size_t n_subjects)
{
	char boot_id[64];
	int fd = openat(dir->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;

	if (!file) {
		int r = -errno;

		inj_close_guard(&fd);
		return r;
	}
	inj_fault_point("targets-made");
	read_boot_id(boot_id, sizeof(boot_id));
	fprintf(file, "boot %s\n", boot_id);
	for (size_t i = 0; i < n_subjects; i++)
		fprintf(file, "%d %" PRIu64 "\n", (int)subjects[i].pid, subjects[i].start_ticks);

	int r = fflush(file) != 0 || ferror(file) ? -errno : 0;

	fclose(file);
	inj_fault_point("targets-written");
	return r;
}

static int make_journal(const struct dsud_state_dir *dir, const char *name, int *ret_fd)
{
	INJ_CLOSE int fd = openat(dir->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	inj_fault_point("journal-made");

	int r = -posix_fallocate(fd, 0, JOURNAL_BYTES);

	inj_fault_point("journal-reserved");
	if (r < 0)
		return r;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	*ret_fd = inj_take_fd(&fd);
	return 0;
}

int dsud_journal_create(const struct dsud_state_dir *dir, const uint8_t id[DSUD_UPDATE_ID_BYTES],
			const struct dsud_subject *subjects, size_t n_subjects, int *ret_fd,
			struct inj_why *why)
{
	char targets[NAME_BYTES];
	char journal[NAME_BYTES];

	name_file(targets, "targets", id);
	name_file(journal, "journal", id);

	int r = write_targets(dir, targets, subjects, n_subjects);

	if (r == 0)
		r = make_journal(dir, journal, ret_fd);
	if (r == 0)
		return 0;
	dsud_journal_remove(dir, id);
	return inj_broke(
		why, r,
		"No process was touched, for there is no room for the undo journal in %s (%u "
		"bytes). Make room there, or start dsud with another --state-dir",
		dir->path, JOURNAL_BYTES);
}

void dsud_journal_remove(const struct dsud_state_dir *dir, const uint8_t id[DSUD_UPDATE_ID_BYTES])
{
	char name[NAME_BYTES];

	/* The list of targets last: without it a journal would be an orphan. */
	name_file(name, "journal", id);
	unlinkat(dir->fd, name, 0);
	inj_fault_point("journal-removed");
	name_file(name, "targets", id);
	unlinkat(dir->fd, name, 0);
	inj_fault_point("targets-removed");
}

/* --- leftovers ---------------------------------------------------------------------------- */

/* Read the living targets of a leftover. Return: 0, -ESTALE when none is left, -EBADMSG. */
static int read_targets(const struct dsud_state_dir *dir, const char *name,
			struct dsud_leftover *leftover)
{
	INJ_CLEANUP(inj_file_guard) FILE *file = NULL;
	char line[128];
	char boot_id[64];
	int fd = openat(dir->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	file = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (!file)
		return -errno;
	read_boot_id(boot_id, sizeof(boot_id));
	if (!fgets(line, sizeof(line), file) || strncmp(line, "boot ", 5) != 0)
		return -EBADMSG;
	line[strcspn(line, "\n")] = '\0';
	if (strcmp(line + 5, boot_id) != 0)
		return -ESTALE;
	leftover->subjects = calloc(DSUD_MAX_TARGETS_PER_UPDATE, sizeof(*leftover->subjects));
	if (!leftover->subjects)
		return -ENOMEM;
	while (leftover->n_subjects < DSUD_MAX_TARGETS_PER_UPDATE &&
	       fgets(line, sizeof(line), file)) {
		struct dsud_subject *next = &leftover->subjects[leftover->n_subjects];
		int pid;

		if (sscanf(line, "%d %" SCNu64, &pid, &next->start_ticks) != 2 || pid <= 0)
			return -EBADMSG;
		next->pid = pid;
		leftover->n_subjects += next->start_ticks != 0 && dsud_subject_is_same(next);
	}
	return leftover->n_subjects > 0 ? 0 : -ESTALE;
}

static int read_leftover(const struct dsud_state_dir *dir, const char *targets,
			 struct dsud_leftover *leftover)
{
	char journal[NAME_BYTES];
	int r = read_targets(dir, targets, leftover);

	if (r < 0)
		return r;
	name_file(journal, "journal", leftover->id);
	leftover->journal_fd = openat(dir->fd, journal, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (leftover->journal_fd < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	leftover->is_foreign = upd_journal_is_foreign(leftover->journal_fd);
	return 0;
}

static bool has_journal(const struct dsud_state_dir *dir, const uint8_t *id)
{
	char name[NAME_BYTES];

	name_file(name, "journal", id);
	return faccessat(dir->fd, name, F_OK, 0) == 0 || errno != ENOENT;
}

void dsud_leftover_deinit(struct dsud_leftover *leftover)
{
	if (!leftover)
		return;
	inj_close_guard(&leftover->journal_fd);
	free(leftover->subjects);
	*leftover = (struct dsud_leftover){.journal_fd = -1};
}

static bool consider(const struct dsud_state_dir *dir, const char *name,
		     struct dsud_leftover *ret)
{
	struct dsud_leftover leftover = {.journal_fd = -1};
	int r;

	if (strncmp(name, "targets-", 8) != 0 || !parse_id(name + 8, leftover.id))
		return false;
	r = read_leftover(dir, name, &leftover);
	if (r == 0) {
		*ret = leftover;
		return true;
	}
	/* A death while the list was being written: then there is no journal, and nothing began. */
	if (r == -EBADMSG && !has_journal(dir, leftover.id))
		r = -ESTALE;
	if (r == -ESTALE)
		dsud_journal_remove(dir, leftover.id);
	else
		dsud_log_errno(LOG_ERR, r, "cannot read %s/%s, left by an interrupted update",
			       dir->path, name);
	dsud_leftover_deinit(&leftover);
	return false;
}

int dsud_journal_leftovers(const struct dsud_state_dir *dir, struct dsud_leftover **ret,
			   size_t *ret_n)
{
	INJ_CLEANUP(inj_dir_guard) DIR *listing = NULL;
	struct dsud_leftover *leftovers = calloc(MAX_LEFTOVERS, sizeof(*leftovers));
	struct dirent *entry;
	size_t n = 0;
	int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	listing = fd >= 0 ? fdopendir(fd) : NULL;
	if (!listing || !leftovers) {
		int r = leftovers ? -errno : -ENOMEM;

		if (!listing)
			inj_close_guard(&fd);
		free(leftovers);
		return r;
	}
	while (n < MAX_LEFTOVERS && (entry = readdir(listing)))
		n += consider(dir, entry->d_name, &leftovers[n]);
	*ret = leftovers;
	*ret_n = n;
	return 0;
}
