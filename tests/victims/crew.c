/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * crew: four threads, each of which takes questions, so that there is an answer as long as one of
 *   them runs. value() adds
 * 1. Questions, a line each, of which every thread may get the next:
 *   value      value(0), asked of it a hundred times: -1 when the answers differed
 *   fork       pid of a new child
 *   child      the same as `value`, of the last child; checks its memory and its threads, too:
 *              -2 when they are not whole
 *   end-child  its status when its input is closed
 *   exec       the program becomes another copy of itself, which says "ready"
 *   exit       ends the process with status 7
 *   quit
 */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_HANDS 4
#define N_WORDS 4096

long value(long x);

static long (*volatile call_value)(long x) = value;
static uint64_t pattern[N_WORDS];
static char *program;
static pid_t child;
static int to_child = -1, from_child = -1;

__attribute__((noinline)) long value(long x)
{
	__asm__ volatile("");
	return x + 1;
}

static long ask_value(void)
{
	long first = call_value(0);

	for (int i = 0; i < 100; i++)
		if (call_value(0) != first)
			return -1;
	return first;
}

static void fill_pattern(void)
{
	for (uint64_t i = 0; i < N_WORDS; i++)
		pattern[i] = i * 0x9e3779b97f4a7c15u;
}

static void *be_thread(void *argument)
{
	*(long *)argument = ask_value();
	return argument;
}

/* Memory as it was, an allocator, threads of its own. */
static long examine_child(void)
{
	pthread_t thread;
	long theirs = 0;
	void *block = malloc(100000);

	for (uint64_t i = 0; i < N_WORDS; i++)
		if (pattern[i] != i * 0x9e3779b97f4a7c15u)
			return -2;
	free(block);
	if (!block || pthread_create(&thread, NULL, be_thread, &theirs) != 0 ||
	    pthread_join(thread, NULL) != 0)
		return -2;
	return theirs == ask_value() ? theirs : -1;
}

static _Noreturn void be_child(int in, int out)
{
	char question;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(in, &question, 1) == 1) {
		long result = examine_child();

		if (write(out, &result, sizeof(result)) != sizeof(result))
			break;
	}
	_exit(0);
}

static long fork_child(void)
{
	int to[2], from[2];

	close(to_child);
	close(from_child);
	if (pipe(to) != 0 || pipe(from) != 0)
		return -1;
	child = fork();
	if (child == 0) {
		close(to[1]);
		be_child(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	to_child = to[1];
	from_child = from[0];
	return child;
}

static long ask_child(void)
{
	long result;

	return write(to_child, "?", 1) == 1 &&
			       read(from_child, &result, sizeof(result)) == sizeof(result)
		       ? result
		       : -3;
}

static long end_child(void)
{
	int status = -1;

	close(to_child);
	to_child = -1;
	return waitpid(child, &status, 0) == child ? status : -1;
}

/* One write, so that lines of several threads do not mix. */
static void say(const char *text)
{
	if (write(1, text, strlen(text)) < 0)
		_exit(1);
}

static void say_number(long number)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld\n", number);
	say(text);
}

static void answer(const char *line)
{
	if (strcmp(line, "value\n") == 0)
		say_number(ask_value());
	else if (strcmp(line, "fork\n") == 0)
		say_number(fork_child());
	else if (strcmp(line, "child\n") == 0)
		say_number(ask_child());
	else if (strcmp(line, "end-child\n") == 0)
		say_number(end_child());
	else if (strcmp(line, "exec\n") == 0)
		execl(program, program, NULL);
	else if (strcmp(line, "exit\n") == 0)
		_exit(7);
	else
		say("?\n");
}

/* Who asks waits for the answer, so a read is a line. */
static void *take_questions(void *argument)
{
	char line[64];
	ssize_t n;

	while ((n = read(0, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		if (strcmp(line, "quit\n") == 0)
			break;
		answer(line);
	}
	exit(0);
	return argument;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	(void)argc;
	program = argv[0];
	fill_pattern();
	for (int i = 1; i < N_HANDS; i++)
		if (pthread_create(&thread, NULL, take_questions, NULL) != 0)
			return 1;
	say("ready\n");
	take_questions(NULL);
	return 0;
}
