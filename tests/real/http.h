/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_REAL_HTTP_H
#define TESTS_REAL_HTTP_H

#include <stddef.h>

/* For struct dialogue: length of a whole HTTP/1.1 response, by Content-Length or by chunks. */
size_t http_measure(const char *text, size_t n);
/* For struct dialogue: without the Date header. */
size_t http_normalise(char *answer, size_t n);

#endif
