/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/cleanup.h"
#include "injector/base/io.h"

/* A file without a name that holds n bytes 'a', 'b', ... */
static int file_of(size_t n)
{
	int fd = memfd_create("test-io", MFD_CLOEXEC);

	for (size_t i = 0; i < n; i++) {
		char c = (char)('a' + i % 26);

		cr_assert_eq(write(fd, &c, 1), 1);
	}
	cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

Test(io, whole_file_of_any_size)
{
	static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 8192, 8193, 20000};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(sizes); i++) {
		INJ_CLOSE int fd = file_of(sizes[i]);
		INJ_FREE char *text = NULL;
		size_t length = 77;

		cr_assert_eq(inj_read_whole(fd, 20000, &text, &length), 0);
		cr_assert_eq(length, sizes[i]);
		cr_assert_eq(text[length], '\0');
		cr_assert_eq(strlen(text), length);
		if (length > 0)
			cr_assert_eq(text[length - 1], (char)('a' + (length - 1) % 26));
	}
}

Test(io, limit_is_exact)
{
	static const size_t limits[] = {0, 1, 100, 4096, 5000};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(limits); i++) {
		INJ_CLOSE int fits = file_of(limits[i]);
		INJ_CLOSE int too_much = file_of(limits[i] + 1);
		INJ_FREE char *text = NULL;
		char *untouched = NULL;

		cr_assert_eq(inj_read_whole(fits, limits[i], &text, NULL), 0);
		cr_assert_eq(inj_read_whole(too_much, limits[i], &untouched, NULL), -EFBIG);
		cr_assert_null(untouched);
	}
}

Test(io, errors_pass_through)
{
	char buffer[4];
	char *text = NULL;
	size_t done = 5;
	INJ_CLOSE int fd = file_of(3);

	cr_assert_eq(inj_read_full(-1, buffer, 4, &done), -EBADF);
	cr_assert_eq(done, 5);
	cr_assert_eq(inj_read_whole(-1, 10, &text, NULL), -EBADF);
	cr_assert_eq(inj_write_full(-1, buffer, 4), -EBADF);
	cr_assert_eq(inj_pread_full(fd, buffer, 4, 0), -ENODATA);
	cr_assert_eq(inj_pread_full(fd, buffer, 1, 3), -ENODATA);
	cr_assert_eq(inj_pread_full(fd, buffer, 3, 0), 0);
	cr_assert_eq(memcmp(buffer, "abc", 3), 0);
	cr_assert_eq(inj_read_full(fd, buffer, 4, &done), 0);
	cr_assert_eq(done, 3);
}

static void ignore(int signal)
{
	(void)signal;
}

/* A pipe gives short reads, and a storm of signals interrupts them and the writes. */
Test(io, survives_interruptions)
{
	enum { BYTES = 1 << 20 };
	struct sigaction action = {.sa_handler = ignore};
	int ends[2];
	pid_t reader = getpid();

	cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
	cr_assert_eq(pipe(ends), 0);

	pid_t writer = fork();

	if (writer == 0) {
		static char data[BYTES];

		close(ends[0]);
		for (size_t at = 0; at < BYTES; at += 1024) {
			kill(reader, SIGUSR1);
			if (inj_write_full(ends[1], data + at, 1024) < 0)
				_exit(1);
		}
		_exit(0);
	}
	close(ends[1]);

	INJ_FREE char *text = NULL;
	size_t length = 0;
	int status = 1;

	cr_assert_eq(inj_read_whole(ends[0], BYTES, &text, &length), 0);
	cr_assert_eq(length, BYTES);
	cr_assert_eq(waitpid(writer, &status, 0), writer);
	cr_assert_eq(status, 0);
}
