/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_BASE_IO_H
#define INJ_BASE_IO_H

#include <sys/types.h>

#include "injector/base/types.h"

/*
 * Read until `length` bytes are there or the file ends; interruptions and short reads are
 * taken care of.
 * fd: open for reading, at its own offset; buffer: at least length bytes; ret_done: bytes read.
 * State: none.
 * Return: 0, also at the end of the file.
 * Errors: negative errno of read(2); ret_done stays untouched.
 * Source: read(2).
 */
int inj_read_full(int fd, void *buffer, size_t length, size_t *ret_done);

/*
 * Read exactly `length` bytes at `offset`.
 * fd: seekable; buffer: at least length bytes.
 * State: none.
 * Return: 0 when every byte was read.
 * Errors: -ENODATA when the file ends before; negative errno of pread(2).
 * Source: pread(2).
 */
int inj_pread_full(int fd, void *buffer, size_t length, off_t offset);

/*
 * Write all bytes.
 * fd: open for writing, blocking; data: length bytes.
 * State: none.
 * Return: 0 when every byte was written.
 * Errors: negative errno of write(2); part may have been written.
 * Source: write(2).
 */
int inj_write_full(int fd, const void *data, size_t length);

/*
 * Read what is left of a file whose size nobody promises (/proc, pipes).
 * fd: open for reading; max_bytes: what a foreign file may make us allocate; ret_text: malloc'ed,
 *   NUL-terminated, owned by the caller; ret_length: without the NUL, may be NULL.
 * State: none.
 * Return: 0.
 * Errors: -EFBIG when there is more than max_bytes; -ENOMEM; negative errno of read(2).
 * Source: read(2).
 */
int inj_read_whole(int fd, size_t max_bytes, char **ret_text, size_t *ret_length);

#endif
