/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dsuctl/json.h"

static sd_bus *bus;
static int peer = -1;
static sd_bus_message *message;

/* A message needs a connection to be made on; nobody ever answers on this one. */
static void setup(void)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	peer = pair[1];
	cr_assert_geq(sd_bus_new(&bus), 0);
	cr_assert_geq(sd_bus_set_fd(bus, pair[0], pair[0]), 0);
	cr_assert_geq(sd_bus_start(bus), 0);
	cr_assert_geq(sd_bus_message_new_signal(bus, &message, "/a", "a.b", "C"), 0);
}

static void teardown(void)
{
	sd_bus_message_unref(message);
	sd_bus_close_unref(bus);
	close(peer);
}

TestSuite(json, .init = setup, .fini = teardown);

static int read_back(const char *type, json_t **ret)
{
	cr_assert_geq(sd_bus_message_seal(message, 1, 0), 0);
	cr_assert_geq(sd_bus_message_rewind(message, 1), 0);
	return ctl_json_from_message(message, type, ret);
}

static void expect(const char *type, const char *text)
{
	json_t *value = NULL;
	int r = read_back(type, &value);

	cr_assert_eq(r, 0, "%s", strerror(-r));
	char *dumped = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	cr_assert_str_eq(dumped, text);
	free(dumped);
	json_decref(value);
}

Test(json, a_report_keeps_its_keys_and_their_order)
{
	cr_assert_geq(sd_bus_message_append(
			      message, "aa{sv}", 1, 10,
			      "pid", "u", 4711,
			      "patch", "s", "hello-v2",
			      "result", "s", "applied",
			      "protocol", "s", "safe-redefine",
			      "attempts", "u", 1,
			      "held_ns", "t", (uint64_t)81234,
			      "functions", "aa{sv}", 1, 3,
				      "module", "s", "hello",
				      "address", "s", "0x401000",
				      "via", "s", "stub",
			      "phases", "a{st}", 1, "read", (uint64_t)17,
			      "notes", "as", 2, "one", "two",
			      "reliable", "b", 1),
		      0);
	expect("aa{sv}", "[{\"pid\":4711,\"patch\":\"hello-v2\",\"result\":\"applied\","
			 "\"protocol\":\"safe-redefine\",\"attempts\":1,\"held_ns\":81234,"
			 "\"functions\":[{\"module\":\"hello\",\"address\":\"0x401000\","
			 "\"via\":\"stub\"}],\"phases\":{\"read\":17},"
			 "\"notes\":[\"one\",\"two\"],\"reliable\":true}]");
}

Test(json, addresses_are_strings_whoever_sends_them)
{
	cr_assert_geq(sd_bus_message_append(message, "a{sv}", 2, "address", "t",
					    (uint64_t)0xffffffffff600000, "replacement", "u", 16),
		      0);
	expect("a{sv}", "{\"address\":\"0xffffffffff600000\",\"replacement\":\"0x10\"}");
}

Test(json, every_basic_type)
{
	cr_assert_geq(sd_bus_message_append(message, "a{sv}", 8, "y", "y", 255, "n", "n", -3, "q",
					    "q", 65535, "i", "i", -7, "x", "x", INT64_MIN, "t", "t",
					    UINT64_MAX, "d", "d", 0.5, "o", "o", "/a/b"),
		      0);
	expect("a{sv}", "{\"y\":255,\"n\":-3,\"q\":65535,\"i\":-7,\"x\":-9223372036854775808,"
			"\"t\":9223372036854775807,\"d\":0.5,\"o\":\"/a/b\"}");
}

Test(json, structures_and_empty_lists)
{
	cr_assert_geq(sd_bus_message_append(message, "a(tsssso)", 1, (uint64_t)3, "apply", "p",
					    "running", "", "/org/dsud1/update/3"),
		      0);
	expect("a(tsssso)", "[[3,\"apply\",\"p\",\"running\",\"\",\"/org/dsud1/update/3\"]]");
}

Test(json, empty_report)
{
	cr_assert_geq(sd_bus_message_append(message, "aa{sv}", 0), 0);
	expect("aa{sv}", "[]");
}

Test(json, control_characters_become_question_marks)
{
	cr_assert_geq(sd_bus_message_append(message, "a{sv}", 1, "comm", "s",
					    "a\033[2Jb\n\177"),
		      0);
	expect("a{sv}", "{\"comm\":\"a?[2Jb??\"}");
}

Test(json, wrong_type)
{
	json_t *value = NULL;

	cr_assert_geq(sd_bus_message_append(message, "s", "no report"), 0);
	cr_assert_eq(read_back("aa{sv}", &value), -EBADMSG);
	cr_assert_null(value);
}

Test(json, not_a_number)
{
	json_t *value = NULL;

	cr_assert_geq(sd_bus_message_append(message, "a{sv}", 1, "d", "d", NAN), 0);
	cr_assert_eq(read_back("a{sv}", &value), -ERANGE);
	cr_assert_null(value);
}

Test(json, dictionaries_with_other_keys)
{
	json_t *value = NULL;

	cr_assert_geq(sd_bus_message_append(message, "a{us}", 1, 1, "one"), 0);
	cr_assert_eq(read_back("a{us}", &value), -EBADMSG);
	cr_assert_null(value);
}

Test(json, descriptors_have_no_place_in_a_document)
{
	json_t *value = NULL;

	cr_assert_geq(sd_bus_message_append(message, "a{sv}", 1, "h", "h", STDERR_FILENO), 0);
	cr_assert_lt(read_back("a{sv}", &value), 0);
	cr_assert_null(value);
}

/* n variants inside of each other around a number. */
static void nest(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		cr_assert_geq(
			sd_bus_message_open_container(message, 'v', i + 1 < n ? "v" : "u"), 0);
	cr_assert_geq(sd_bus_message_append(message, "u", 1), 0);
	for (unsigned i = 0; i < n; i++)
		cr_assert_geq(sd_bus_message_close_container(message), 0);
}

Test(json, nesting_up_to_the_limit)
{
	nest(CTL_JSON_DEPTH_MAX - 1);
	expect("v", "1");
}

Test(json, nesting_beyond_the_limit)
{
	json_t *value = NULL;

	nest(CTL_JSON_DEPTH_MAX);
	cr_assert_eq(read_back("v", &value), -EBADMSG);
	cr_assert_null(value);
}

Test(json, printing)
{
	CTL_JSON json_t *document = json_pack("{s:[], s:s}", "targets", "message", "na\xc3\xafve");
	char *text = NULL;
	size_t n;
	FILE *stream = open_memstream(&text, &n);

	cr_assert_eq(ctl_json_print(stream, CTL_JSON_SHORT, document), 0);
	cr_assert_str_eq(text, "{\"targets\":[],\"message\":\"na\xc3\xafve\"}\n");
	rewind(stream);
	cr_assert_eq(ctl_json_print(stream, CTL_JSON_PRETTY, document), 0);
	fclose(stream);
	cr_assert_str_eq(text, "{\n  \"targets\": [],\n  \"message\": \"na\xc3\xafve\"\n}\n");
	free(text);
}

Test(json, a_full_disk_is_noticed)
{
	CTL_JSON json_t *document = json_pack("{s:i}", "a", 1);
	FILE *full = fopen("/dev/full", "w");

	cr_assert_not_null(full);
	cr_assert_eq(ctl_json_print(full, CTL_JSON_SHORT, document), -EIO);
	fclose(full);
}
