/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "injector/process/status-priv.h"

#define STAT_REST                                                                                  \
	" S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 10000 200 18446744073709551615\n"

Test(stat, ordinary)
{
	struct inj_stat stat;

	cr_assert_eq(inj_stat_parse("42 (cat)" STAT_REST, &stat), 0);
	cr_assert_eq(stat.state, 'S');
	cr_assert_eq(stat.flags, 4194560);
	cr_assert_eq(stat.n_threads, 3);
	cr_assert_eq(stat.start_ticks, 987654);
}

/* A program may call itself what it likes. */
Test(stat, hostile_names)
{
	static const char *const names[] = {
		"", ")", ") Z 1 1", "((", "a b", "))) )", "\n) X 9 ", "(x) Z 0 0 0 0 0 2097216 0",
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++) {
		struct inj_stat stat;
		char text[512];

		snprintf(text, sizeof(text), "42 (%s)" STAT_REST, names[i]);
		cr_assert_eq(inj_stat_parse(text, &stat), 0, "%s", text);
		cr_assert_eq(stat.state, 'S');
		cr_assert_eq(stat.flags, 4194560);
		cr_assert_eq(stat.start_ticks, 987654);
	}
}

Test(stat, refuses_rubbish)
{
	static const char *const texts[] = {
		"",
		"42",
		"42 (cat)",
		"42 (cat) ",
		"42 (cat)S 1 42",
		"42 (cat) S",
		"42 (cat) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0",
		"42 (cat) S 1 42 42 0 -1 x 1 2 3 4 5 6 7 8 20 0 3 0 987654 1",
		"42 (cat) S 1 42 42 0 -1 99999999999999999999 1 2 3 4 5 6 7 8 20 0 3 0 9 1",
		"42 (cat) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 18446744073709551616 1",
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(texts); i++) {
		struct inj_stat stat = {.state = '#'};

		cr_assert_eq(inj_stat_parse(texts[i], &stat), -EBADMSG, "%s", texts[i]);
		cr_assert_eq(stat.state, '#');
	}
}

#define STATUS(name, more)                                                                         \
	"Name:\t" name "\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t42\nNgid:\t0\nPid:\t43\n"     \
	"PPid:\t1\nTracerPid:\t7\nUid:\t0\t0\t0\t0\nNSpid:\t43\t5\t1\nThreads:\t3\n"               \
	"SigQ:\t0/31\nSigPnd:\t0000000000000001\nShdPnd:\t8000000000000000\n"                      \
	"SigBlk:\tfffffffe7ffbfeff\nSigIgn:\t0000000000001000\nSigCgt:\t0000000180004002\n" more

Test(status, ordinary)
{
	struct inj_status status;
	pid_t ns_pid = 0;

	cr_assert_eq(inj_status_parse(STATUS("cat", "Seccomp:\t2\n"), &status, &ns_pid), 0);
	cr_assert_eq(status.state, 'S');
	cr_assert_str_eq(status.comm, "cat");
	cr_assert_eq(status.tgid, 42);
	cr_assert_eq(status.tracer_pid, 7);
	cr_assert_eq(status.sig_pending, 0x8000000000000001);
	cr_assert_eq(status.sig_blocked, 0xfffffffe7ffbfeff);
	cr_assert_eq(status.sig_caught, 0x180004002);
	cr_assert_eq(status.seccomp, 2);
	cr_assert(!status.shadow_stack);
	cr_assert_eq(ns_pid, 1);
}

Test(status, older_and_newer_kernels)
{
	struct inj_status status;

	cr_assert_eq(inj_status_parse(STATUS("cat", ""), &status, NULL), 0);
	cr_assert_eq(status.seccomp, 0);
	cr_assert_eq(inj_status_parse(STATUS("cat", "x86_Thread_features:\tshstk wrss \n"), &status,
				      NULL),
		     0);
	cr_assert(status.shadow_stack);
	cr_assert_eq(inj_status_parse(STATUS("cat", "x86_Thread_features:\t\nOther:\tshstk\n"),
				      &status, NULL),
		     0);
	cr_assert(!status.shadow_stack);
}

/* The kernel writes line feeds of a name as \n, so a name cannot pass for another line. */
Test(status, hostile_names)
{
	static const struct {
		const char *text, *comm;
	} names[] = {
		{STATUS("", ""), ""},
		{STATUS("a\\nState:\\nb", ""), "a?State:?b"},
		{STATUS("a\\\\nb", ""), "a\\nb"},
		{STATUS("TracerPid:\t99", ""), "TracerPid:?99"},
		{STATUS("\033[31m\xff", ""), "?[31m?"},
		{STATUS("trailing\\", ""), "trailing\\"},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++) {
		struct inj_status status;

		cr_assert_eq(inj_status_parse(names[i].text, &status, NULL), 0);
		cr_assert_str_eq(status.comm, names[i].comm);
		cr_assert_eq(status.tracer_pid, 7);
		cr_assert_eq(status.state, 'S');
	}
}

Test(status, a_long_name_is_cut)
{
	struct inj_status status;
	char text[2048];
	char name[200];

	memset(name, 'k', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	snprintf(text, sizeof(text), "%s%s%s", "Name:\t", name, STATUS("", "") + strlen("Name:\t"));
	cr_assert_eq(inj_status_parse(text, &status, NULL), 0);
	cr_assert_eq(strlen(status.comm), sizeof(status.comm) - 1);
}

/* Each field that is relied on, taken away or spoilt. */
Test(status, refuses_what_is_incomplete)
{
	static const char *const fields[] = {
		"Name:",   "State:",  "Tgid:",	 "TracerPid:",
		"SigPnd:", "ShdPnd:", "SigBlk:", "SigCgt:",
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(fields); i++) {
		struct inj_status status;
		char text[1024] = STATUS("cat", "");
		char *field = strstr(text, fields[i]);

		field[0] = 'x';
		cr_assert_eq(inj_status_parse(text, &status, NULL), -EBADMSG, "%s", fields[i]);
	}
}

Test(status, refuses_bad_numbers)
{
	static const char *const texts[] = {
		STATUS("cat", "Seccomp:\t3\n"),
		STATUS("cat", "Seccomp:\t-1\n"),
		STATUS("cat", "Seccomp:\t\n"),
		"Name:\tcat\nState:\tS\nTgid:\t2147483648\nTracerPid:\t0\nSigPnd:\t0\nShdPnd:\t0\n"
		"SigBlk:\t0\nSigCgt:\t0\n",
		"Name:\tcat\nState:\tS\nTgid:\t1\nTracerPid:\t0\nSigPnd:\t0\nShdPnd:\t0\n"
		"SigBlk:\t10000000000000000\nSigCgt:\t0\n",
		"Name:\tcat\nState:\tS\nTgid:\t1\nTracerPid:\t0\nSigPnd:\t0\nShdPnd:\t0\n"
		"SigBlk:\t0\nSigCgt:\t0\nNSpid:\t1\tx\n",
		"Name:\tcat\nState:\t\nTgid:\t1\nTracerPid:\t0\nSigPnd:\t0\nShdPnd:\t0\n"
		"SigBlk:\t0\nSigCgt:\t0\n",
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(texts); i++) {
		struct inj_status status;

		cr_assert_eq(inj_status_parse(texts[i], &status, NULL), -EBADMSG, "case %zu", i);
	}
}
