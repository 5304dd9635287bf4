/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_PROCESS_MEM_H
#define INJ_PROCESS_MEM_H

#include "injector/process/process.h"

/* One piece to read: length bytes of the target from address go to buffer. */
struct inj_mem_part {
	inj_addr address;
	void *buffer;
	size_t length;
};

/*
 * Read target memory, through process_vm_readv(2) or else /proc/PID/mem (pages that the target
 * itself may not read).
 * address, length: any; buffer: at least length bytes, undefined after an error.
 * State: running or held; what is read from a running target may be torn.
 * Return: 0 when every byte was read.
 * Errors: -EFAULT (unmapped); -ESRCH (gone); other negative errno.
 * Source: process_vm_readv(2), proc(5).
 */
int inj_mem_read(const struct inj_process *process, inj_addr address, void *buffer, size_t length);

/*
 * Many pieces with as few system calls as possible (IOV_MAX a call).
 * parts: n_parts of them, in any order; pieces of length 0 are fine.
 * State, Return, Errors, Source: as inj_mem_read(); all or error.
 */
int inj_mem_read_parts(const struct inj_process *process, const struct inj_mem_part *parts,
		       size_t n_parts);

/*
 * NUL-terminated string of at most size - 1 bytes.
 * buffer: size bytes, undefined after an error; size: at least 1.
 * State, Source: as inj_mem_read().
 * Return: 0.
 * Errors: -ENAMETOOLONG when no NUL was found; others as inj_mem_read(), for what lies before
 *   the NUL only.
 */
int inj_mem_read_string(const struct inj_process *process, inj_addr address, char *buffer,
			size_t size);

#endif
