/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_MAKE_MESSAGE_H
#define TESTS_FUZZ_MAKE_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

/*
 * A message that a peer could send, made of fuzzed bytes: of these types, with the counts, strings,
 * numbers and contents of variants that the bytes say; empty where they end. Always well formed,
 * since sd-bus refuses all others before anybody else sees them. fd: goes where a descriptor is
 * wanted. Return: sealed and rewound, NULL when it is too deep or too large for D-Bus.
 */
sd_bus_message *make_message(const uint8_t *bytes, size_t length, const char *types, int fd);

#endif
