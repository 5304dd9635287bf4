/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_VICTIMS_LINE_H
#define TESTS_VICTIMS_LINE_H

/*
 * The line protocol of victims: "ready" once, then one line of answer to each line of question.
 * The end of the input is a question to quit. Header only: a victim is one source file.
 */
#include <stdio.h>
#include <string.h>

/* The next question without its line feed; NULL when it is time to quit. */
static inline const char *line_next(void)
{
	static char line[256];

	if (!fgets(line, sizeof(line), stdin))
		return NULL;
	line[strcspn(line, "\n")] = '\0';
	return strcmp(line, "quit") == 0 ? NULL : line;
}

static inline void line_ready(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
}

#endif
