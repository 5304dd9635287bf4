/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_PROCESS_MEM_H
#define INJ_PROCESS_MEM_H

#include "injector/process/process.h"

struct inj_mem_part {
	inj_addr address;
	void *buffer;
	size_t length;
};

/*
 * Read target memory. Falls back from process_vm_readv(2) to /proc/PID/mem (pages the target itself may not read).
 * State: running or held; what is read from a running target may be torn.
 * Return: 0 when every byte was read; -EFAULT (unmapped), -ESRCH (gone), other negative errno.
 */
int inj_mem_read(const struct inj_process *process, inj_addr address, void *buffer, size_t length);

/* Many pieces with as few system calls as possible (IOV_MAX a call). Return as above; all or error. */
int inj_mem_read_parts(const struct inj_process *process, const struct inj_mem_part *parts, size_t n_parts);

/* NUL-terminated string of at most size-1 bytes. -ENAMETOOLONG when no NUL was found. */
int inj_mem_read_string(const struct inj_process *process, inj_addr address, char *buffer, size_t size);

#endif
