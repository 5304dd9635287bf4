/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_JSON_H
#define CTL_JSON_H

#include <jansson.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#include "dsuctl/options.h"
#include "injector/base/cleanup.h"

/* Variants inside variants; the daemon's documents need five levels. */
#define CTL_JSON_DEPTH_MAX 16

INJ_DEFINE_GUARD(json_t *, json_decref, ctl_json_guard)
#define CTL_JSON INJ_CLEANUP(ctl_json_guard)

/*
 * Text of foreign origin as a JSON string: control characters and invalid UTF-8 become '?', so that
 * it may be printed anywhere.
 * text: copied; NULL gives the empty string.
 * Return: a new reference, NULL when out of memory.
 */
json_t *ctl_json_text(const char *text);

/* A target's address as the contract writes it, "0x1f"; NULL when out of memory. */
json_t *ctl_json_address(uint64_t address);

/*
 * Read one complete value of the given type from a message, where the message stands.
 * contents: one complete D-Bus type; dictionaries need string keys and become objects in the order
 * sent, arrays become arrays, numbers stay exact up to 2^63 - 1 and end there. Numbers under a key
 * that names an address become "0x..." strings.
 * ret: a new reference.
 * Return: 0. Errors: -EBADMSG a type the contract does not know or nesting beyond the limit,
 * -ERANGE an infinite number, -ENOMEM, and what sd_bus_message_read(3) reports.
 */
int ctl_json_from_message(sd_bus_message *message, const char *contents, json_t **ret);

/*
 * Print one document and a newline.
 * mode: pretty or short. On a terminal every byte beyond ASCII is escaped.
 * Return: 0. Errors: -EIO.
 */
int ctl_json_print(FILE *stream, enum ctl_json_mode mode, const json_t *document);

/* Members of an object that may lack them: "" / 0 / an empty list of length 0 when absent. */
const char *ctl_json_get_text(const json_t *object, const char *key);
uint64_t ctl_json_get_number(const json_t *object, const char *key);

#endif
