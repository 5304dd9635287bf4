/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Owns just enough of HTTP/1.1 (RFC 9112) to cut a stream of responses into responses. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/real/http.h"

#define LINE_END "\r\n"

/* Value of a header of the first n bytes, which end with an empty line. NULL: not there. */
static const char *find_header(const char *text, size_t n, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = text; line < text + n;) {
		const char *end = memmem(line, (size_t)(text + n - line), LINE_END, 2);

		if (!end)
			return NULL;
		if ((size_t)(end - line) > length && strncasecmp(line, name, length) == 0 &&
		    line[length] == ':')
			return line + length + 1;
		line = end + 2;
	}
	return NULL;
}

/* Bytes of a body in chunks, without trailers; 0 when it is not complete. */
static size_t measure_chunks(const char *body, size_t n)
{
	size_t at = 0;

	for (;;) {
		const char *end = memmem(body + at, n - at, LINE_END, 2);

		if (!end)
			return 0;

		size_t size = strtoul(body + at, NULL, 16);

		at = (size_t)(end - body) + 2;
		if (size > n - at || n - at - size < 2)
			return 0;
		at += size + 2;
		if (size == 0)
			return at;
	}
}

size_t http_measure(const char *text, size_t n)
{
	const char *end = memmem(text, n, LINE_END LINE_END, 4);

	if (!end)
		return 0;

	size_t head = (size_t)(end - text) + 4;
	const char *length = find_header(text, head, "Content-Length");

	if (find_header(text, head, "Transfer-Encoding")) {
		size_t body = measure_chunks(end + 4, n - head);

		return body ? head + body : 0;
	}

	size_t body = length ? strtoul(length, NULL, 10) : 0;

	return body <= n - head ? head + body : 0;
}

size_t http_normalise(char *answer, size_t n)
{
	const char *date = find_header(answer, n, "Date");

	if (!date)
		return n;

	char *line = answer + (date - answer) - strlen("Date:");
	char *next = memmem(line, (size_t)(answer + n - line), LINE_END, 2);

	if (!next)
		return n;
	next += 2;
	memmove(line, next, (size_t)(answer + n - next));
	return n - (size_t)(next - line);
}
