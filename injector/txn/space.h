/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_TXN_SPACE_H
#define INJ_TXN_SPACE_H

#include "injector/abi/ledger.h"
#include "injector/process/process.h"
#include "injector/stop/borrow.h"

/*
 * The memory of one update in one target: a memfd made by the target itself (so that it is charged
 * and named there), seen by us through a shared view, mapped by the target privately in several
 * areas: read-execute for code, read-write for data, never both. What we write through the view
 * before the target touches a page is what the target sees.
 */
struct inj_space {
	const struct inj_process *process; /* borrowed */
	int64_t remote_fd; /* number in the target until inj_space_map() closed it */
	int fd;          /* our copy of the memfd */
	uint8_t *view;   /* bytes long; NULL once sealed */
	size_t bytes;
};

/*
 * Make the memfd.
 * borrow: a borrowed thread of the target; name: "dsu:<patch id>"; bytes: page multiple; ret: end
 *   with inj_space_deinit().
 * State: borrowed.
 * Return: 0; the target holds a descriptor until inj_space_map(), which must follow within the same
 *   borrow.
 * Errors: INJ_UNSUPPORTED_PROCESS (the target may not make one: its limit of open files,
 *   vm.memfd_noexec); -ENOMEM and other negative errno; refusals of the borrow.
 * Source: memfd_create(2), pidfd_getfd(2).
 */
int inj_space_make(const struct inj_process *process, struct inj_borrow *borrow, const char *name,
		   size_t bytes, struct inj_space *ret, struct inj_why *why);

/*
 * Map areas in the target at their addresses, and close its descriptor whatever happens; an address
 * that is taken is an error. Areas that follow each other in memory and in the file, with one
 * protection, are mapped at once, with the first of them.
 * areas: n of them, mapped in this order.
 * State: borrowed.
 * Return: 0.
 * Errors: INJ_BUSY (the target took an address since its maps were read: choose others);
 *   INJ_UNSUPPORTED_PROCESS (address space limits, number of maps); negative errno. Those of this
 *   call that were mapped are unmapped again.
 * Source: mmap(2) with MAP_FIXED_NOREPLACE.
 */
int inj_space_map(struct inj_space *space, struct inj_borrow *borrow,
		  const struct dsu_ledger_area *areas, size_t n, struct inj_why *why);

/*
 * Drop our view and forbid all further changes of the file's bytes.
 * State: any.
 * Return: 0.
 * Errors: negative errno.
 * Source: fcntl(2), F_ADD_SEALS.
 */
int inj_space_seal(struct inj_space *space);

/*
 * Forget our side; the target's mappings stay.
 * space: a zeroed or half-made one with fd -1 is fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void inj_space_deinit(struct inj_space *space);

/*
 * Unmap areas of ours in the target, last first, so that the record goes last. Only ranges that are
 * mappings of ours right now (by name, and all of the same file) are touched.
 * areas: n of them.
 * State: borrowed; no thread executes there.
 * Return: 0.
 * Errors: negative errno; refusals of the borrow.
 * Source: munmap(2).
 */
int inj_space_unmap(const struct inj_process *process, struct inj_borrow *borrow,
		    const struct dsu_ledger_area *areas, size_t n, struct inj_why *why);

/*
 * Did a death in the middle leave descriptors of ours open in the target?
 * State: any; reads /proc/PID/fd only.
 * Return: the answer; true when that cannot be read, since there may be some.
 * Errors: none.
 * Source: proc(5), fd.
 */
bool inj_space_has_strays(const struct inj_process *process);

/*
 * Close descriptors of ours that a death in the middle left open in the target.
 * State: borrowed.
 * Return: how many.
 * Errors: negative errno; refusals of the borrow.
 * Source: proc(5), fd; close(2).
 */
int inj_space_close_strays(const struct inj_process *process, struct inj_borrow *borrow,
			   struct inj_why *why);

#endif
