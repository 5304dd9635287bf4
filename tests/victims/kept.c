/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kept: libraries with thread-local variables, one linked, one loaded later whose variables each
 * thread gets on first use, one loaded later that found room in the static block. Questions:
 *   WHO WHAT    what WHAT_next(0) says in a thread. WHO: main, other (a new thread), waiting (an
 *               old one, from before the libraries were loaded); WHAT: linked, loaded, fixed
 *   sum WHAT    WHAT_sum of the main thread
 *   quit
 */
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/victims/line.h"

long linked_next(long x);
extern __thread long linked_sum;

struct job {
	long (*run)(long x);
	long answer;
};

static sem_t wanted, done;
static struct job waiting_job;

static void *serve(void *argument)
{
	(void)argument;
	for (;;) {
		sem_wait(&wanted);
		waiting_job.answer = waiting_job.run(0);
		sem_post(&done);
	}
	return NULL;
}

static void *run_job(void *argument)
{
	struct job *job = argument;

	job->answer = job->run(0);
	return NULL;
}

static void *find(const char *what, const char *suffix)
{
	char path[4096], name[64];
	void *library;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);

	if (strcmp(what, "linked") == 0)
		return strcmp(suffix, "_next") == 0 ? (void *)linked_next : (void *)&linked_sum;
	path[n > 0 ? n : 0] = '\0';
	snprintf(strrchr(path, '/'), 64, "/libkept-%s.so", what);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	snprintf(name, sizeof(name), "%s%s", what, suffix);
	return library ? dlsym(library, name) : NULL;
}

static long ask(const char *who, const char *what)
{
	struct job job = { .run = (long (*)(long))find(what, "_next") };
	pthread_t thread;

	if (!job.run)
		return -1;
	if (strcmp(who, "main") == 0) {
		run_job(&job);
	} else if (strcmp(who, "other") == 0) {
		pthread_create(&thread, NULL, run_job, &job);
		pthread_join(thread, NULL);
	} else {
		waiting_job = job;
		sem_post(&wanted);
		sem_wait(&done);
		return waiting_job.answer;
	}
	return job.answer;
}

int main(void)
{
	char who[16], what[16];
	pthread_t thread;
	const char *line;

	sem_init(&wanted, 0, 0);
	sem_init(&done, 0, 0);
	pthread_create(&thread, NULL, serve, NULL);
	line_ready();
	while ((line = line_next())) {
		if (sscanf(line, "%15s %15s", who, what) != 2)
			puts("?");
		else if (strcmp(who, "sum") == 0)
			printf("%ld\n", *(long *)find(what, "_sum"));
		else
			printf("%ld\n", ask(who, what));
	}
	return 0;
}
