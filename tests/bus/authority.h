/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_BUS_AUTHORITY_H
#define TESTS_BUS_AUTHORITY_H

#include "tests/bus/bus-fixture.h"

enum authority_mood {
	AUTHORITY_YES,
	AUTHORITY_NO,
	AUTHORITY_CHALLENGE, /* a password first; says so also when a person may be asked */
	AUTHORITY_SILENT,
	AUTHORITY_BROKEN,    /* answers with an error full of control characters */
	AUTHORITY_NONSENSE,  /* answers with something of another type */
	AUTHORITY_DIES,
};

/* A polkit of the test's own on its bus, in a process of its own; shared with it. */
struct authority {
	enum authority_mood mood; /* of the next questions */
	unsigned n_asked;
	unsigned n_cancelled;
	/* of the latest question */
	char action[64];
	char subject[64];
	uint32_t flags;
	pid_t pid;
	int events; /* one tick for each question and each cancellation */
};

/* Start it; it has its name when this returns. Ends with the test. */
struct authority *authority_start(const struct bus_fixture *fixture, enum authority_mood mood);
/* Wait for one question or cancellation. */
void authority_await(struct authority *authority);
/* From now on silent questions are answered with yes, those of the past, too. */
void authority_relent(struct authority *authority);

#endif
