/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pure part of waits with an end: times, and which registers show a call. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "injector/stop/waits-priv.h"

static const struct {
	int64_t words[2];
	bool in_us;
	int result;
	uint64_t ns;
} times[] = {
	{{0, 0}, false, 0, 0},
	{{1, 5}, false, 0, 1000000005},
	{{1, 5}, true, 0, 1000005000},
	{{0, 999999999}, false, 0, 999999999},
	{{0, 1000000000}, false, -EINVAL, 0},
	{{0, 999999}, true, 0, 999999000},
	{{0, 1000000}, true, -EINVAL, 0},
	{{-1, 0}, false, -EINVAL, 0},
	{{0, -1}, false, -EINVAL, 0},
	{{INT64_MAX, 0}, false, -EINVAL, 0},
	/* A hundred years, and no more. */
	{{3153600000, 0}, false, 0, 3153600000000000000},
	{{3153600001, 0}, true, -EINVAL, 0},
};

Test(waits, decode)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(times); i++) {
		uint64_t ns = 7;

		cr_expect_eq(inj_time_decode(times[i].words, times[i].in_us, &ns), times[i].result,
			     "%zu", i);
		cr_expect_eq(ns, times[i].result ? 7 : times[i].ns, "%zu", i);
	}
}

Test(waits, encode_is_never_early)
{
	int64_t words[2];
	uint64_t ns;

	for (uint64_t i = 0; i < 4000000000; i = i * 3 / 2 + 1) {
		inj_time_encode(i, false, words);
		cr_assert_eq(inj_time_decode(words, false, &ns), 0);
		cr_expect_eq(ns, i);
		inj_time_encode(i, true, words);
		cr_assert_eq(inj_time_decode(words, true, &ns), 0);
		cr_expect(ns >= i && ns < i + 1000, "%llu", (unsigned long long)i);
	}
}

static const struct inj_call call = {
	.number = SYS_epoll_wait, .arguments = {1, 2, 3, 4, 5, 6}, .sp = 0x7000, .pc = 0x1002};

static struct user_regs_struct inside(void)
{
	return (struct user_regs_struct){
		.orig_rax = SYS_epoll_wait, .rdi = 1, .rsi = 2, .rdx = 3, .r10 = 4, .r8 = 5,
		.r9 = 6, .rsp = 0x7000, .rip = 0x1002, .rax = (uint64_t)-EINTR};
}

/* Each of the registers counts. */
Test(waits, a_call_is_told_from_another)
{
	static const size_t offsets[] = {
		offsetof(struct user_regs_struct, orig_rax),
		offsetof(struct user_regs_struct, rdi), offsetof(struct user_regs_struct, rsi),
		offsetof(struct user_regs_struct, rdx), offsetof(struct user_regs_struct, r10),
		offsetof(struct user_regs_struct, r8),  offsetof(struct user_regs_struct, r9),
		offsetof(struct user_regs_struct, rsp), offsetof(struct user_regs_struct, rip),
	};
	struct user_regs_struct regs = inside();

	cr_expect(inj_call_matches(&call, &regs));
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(offsets); i++) {
		uint64_t value;

		regs = inside();
		memcpy(&value, (char *)&regs + offsets[i], sizeof(value));
		value++;
		memcpy((char *)&regs + offsets[i], &value, sizeof(value));
		cr_expect_not(inj_call_matches(&call, &regs), "%zu", i);
	}
}

/* A folder that says of thread 7 what we want. */
struct folder {
	char name[32];
	struct inj_process process;
};

static void write_file(const struct folder *folder, const char *name, const char *text)
{
	int fd = openat(folder->process.proc_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void make_folder(struct folder *folder, const char *exec_start)
{
	char text[256];

	*folder = (struct folder){.name = "/tmp/test-waits-XXXXXX"};
	cr_assert_not_null(mkdtemp(folder->name));
	folder->process.proc_fd = open(folder->name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(mkdirat(folder->process.proc_fd, "task", 0700), 0);
	cr_assert_eq(mkdirat(folder->process.proc_fd, "task/7", 0700), 0);
	write_file(folder, "task/7/syscall", "232 0x1 0x2 0x3 0x4 0x5 0x6 0x7000 0x1002\n");
	write_file(folder, "task/7/stat",
		   "7 (se.exec_start) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0 0 0 0 0 0 0 "
		   "0 0 0 0 0 0 0 17 3 0 0\n");
	snprintf(text, sizeof(text), "se.exec_start : 5.000000 (7, #threads: 1)\n---\n"
		 "se.exec_start                                :      %s\n", exec_start);
	write_file(folder, "task/7/sched", text);
}

static void remove_folder(struct folder *folder)
{
	static const char *const files[] = {"task/7/syscall", "task/7/stat", "task/7/sched"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(files); i++)
		unlinkat(folder->process.proc_fd, files[i], 0);
	unlinkat(folder->process.proc_fd, "task/7", AT_REMOVEDIR);
	unlinkat(folder->process.proc_fd, "task", AT_REMOVEDIR);
	close(folder->process.proc_fd);
	rmdir(folder->name);
}

Test(waits, when_a_sleep_began)
{
	struct folder folder;
	struct inj_sleep sleep = {0};

	make_folder(&folder, "11778348.518363");
	cr_expect_eq(inj_sleep_read(&folder.process, 7, &call, &sleep), 0);
	cr_expect_eq(sleep.since_ns, 11778348518363);
	cr_expect_eq(sleep.cpu, 3);
	cr_expect_eq(sleep.start_ticks, 4711);
	remove_folder(&folder);
}

/* What the kernel shows of a sleeper that it moved to another CPU. */
Test(waits, a_beginning_that_was_forgotten_is_none)
{
	struct folder folder;
	struct inj_sleep sleep = {0};

	make_folder(&folder, "0.000000");
	cr_expect_eq(inj_sleep_read(&folder.process, 7, &call, &sleep), -ENODATA);
	remove_folder(&folder);
}
