/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_REAL_CLIENT_H
#define TESTS_REAL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "injector/base/cleanup.h"

#define CLIENT_ROOM 65536

enum version {
	ANY,
	OLD,
	NEW,
	N_VERSIONS,
};

/* What a client says again and again, and how it knows the answers. */
struct dialogue {
	const char *request;
	size_t n_request_bytes;
	unsigned n_answers; /* to one request */
	/* Bytes of the first answer in the text, 0 when it is not complete yet. */
	size_t (*measure)(const char *text, size_t n);
	/*
	 * Bring one answer to the form of `texts`, in place: leave out what changes by itself.
	 * NULL: as it is.
	 */
	size_t (*normalise)(char *answer, size_t n);
	/* Before the first request. NULL: nothing. Return: success; pid: who serves, 0 unknown. */
	bool (*greet)(int fd, pid_t *ret_pid);
	/* The whole old and new answer, normalised; index is enum version. */
	char *texts[N_VERSIONS];
	size_t n_bytes[N_VERSIONS];
};

/* Say it once, on a connection of its own, and take the first answer as that of this version. */
void dialogue_learn(struct dialogue *dialogue, unsigned short port, enum version version);
/*
 * The answer of this version is the other one with `from` replaced by `to`; fails the test when it
 * is not in there.
 */
void dialogue_derive(struct dialogue *dialogue, enum version version, enum version other,
		     const char *from, const char *to);
void dialogue_set(struct dialogue *dialogue, enum version version, const char *text, size_t n);
void dialogue_deinit(struct dialogue *dialogue);
#define DIALOGUE INJ_CLEANUP(dialogue_deinit) struct dialogue

/*
 * Some clients, each with one connection that it keeps all the time and a thread. Every answer must
 * be the old or the new one as a whole, and the one that is expected.
 */
struct clients;
struct clients *clients_start(const struct dialogue *dialogue, unsigned short port, unsigned n);
/* Let them finish what they asked, and go; fails the test when anything was wrong. NULL is fine. */
void clients_free(struct clients *clients);
INJ_DEFINE_GUARD(struct clients *, clients_free, clients_guard)
#define CLIENTS INJ_CLEANUP(clients_guard) struct clients *

/*
 * From now on, requests that are sent are to be answered by this version. Earlier ones have been
 * answered when it returns.
 */
void clients_expect(struct clients *clients, enum version version);
/* Until each has had so many more answers; fails the test when something was wrong. */
void clients_await(struct clients *clients, unsigned n_answers);
/* Who serves them: of dialogue->greet. pids: room for all. */
void clients_pids(const struct clients *clients, pid_t *pids);

struct client_totals {
	uint64_t n_answers[N_VERSIONS];
	uint64_t n_failed;
	uint64_t longest_gap_ns; /* between two answers to one client */
};
struct client_totals clients_totals(struct clients *clients);

#endif
