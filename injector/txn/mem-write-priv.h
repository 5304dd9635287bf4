/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_TXN_MEM_WRITE_PRIV_H
#define INJ_TXN_MEM_WRITE_PRIV_H

#include "injector/process/process.h"

/*
 * The only way by which bytes of a target are written. /proc/PID/mem also writes pages that the
 * target itself may only read or execute; a private file page is copied for the target first.
 * fd: /proc/PID/mem, opened read-write. Return: 0, or negative errno; nothing was written within
 *   one page on failure.
 * Source: proc(5), FOLL_FORCE in mm/gup.c of the kernel.
 */
int inj_mem_write(int fd, inj_addr address, const void *bytes, size_t length);

#endif
