/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <stdio.h>

#include "dsuctl/json.h"
#include "dsuctl/outcome.h"
#include "injector/base/types.h"

/* The numbers of the contract, written out: they must not follow a change of the header. */
static const struct {
	const char *name;
	int code;
} contract[] = {
	{"BadPatch", 4},	 {"NoSuchSymbol", 4},	    {"AmbiguousSymbol", 4},
	{"BuildIdMismatch", 4},	 {"Inlined", 4},	    {"FunctionTooShort", 4},
	{"UnsafeCallers", 4},	 {"UnsupportedRelocation", 4}, {"UnsupportedTls", 4},
	{"UnreliableStack", 4},	 {"Blocked", 3},	    {"AlreadyApplied", 4},
	{"NotApplied", 4},	 {"DependsOn", 4},	    {"NoSuchProcess", 5},
	{"ProcessGone", 5},	 {"AlreadyTraced", 4},	    {"UnsupportedProcess", 4},
	{"HookFailed", 1},	 {"BadSignature", 6},	    {"Busy", 1},
	{"Cancelled", 1},	 {"Internal", 1},	    {"AccessDenied", 6},
};

Test(outcome, errors_of_the_contract)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(contract); i++) {
		char name[64];

		snprintf(name, sizeof(name), "org.dsud1.Error.%s", contract[i].name);
		cr_assert_eq((int)ctl_outcome_of_error(name), contract[i].code, "%s", name);
	}
}

static const char *const all_codes[] = {
#define INJ_CODE(name, number, bus, text) bus,
#include "injector/base/codes.def"
#undef INJ_CODE
};

/* A new refusal of the mechanism must not fall through to "failed" unnoticed. */
Test(outcome, every_code_of_the_mechanism_is_known_here)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(all_codes); i++) {
		bool is_known = false;

		for (size_t j = 0; j < INJ_ARRAY_LENGTH(contract); j++)
			is_known |= strcmp(all_codes[i], contract[j].name) == 0;
		cr_assert(is_known, "%s has no exit code", all_codes[i]);
	}
}

Test(outcome, errors_of_a_bus)
{
	cr_assert_eq((int)ctl_outcome_of_error("org.freedesktop.DBus.Error.AccessDenied"), 6);
	cr_assert_eq((int)ctl_outcome_of_error("org.freedesktop.DBus.Error.ServiceUnknown"), 7);
	cr_assert_eq((int)ctl_outcome_of_error("org.freedesktop.DBus.Error.InvalidArgs"), 2);
	cr_assert_eq((int)ctl_outcome_of_error("com.example.Unheard"), 1);
	cr_assert_eq((int)ctl_outcome_of_error(""), 1);
	cr_assert_null(ctl_outcome_advice("com.example.Unheard"));
	cr_assert_not_null(ctl_outcome_advice("org.dsud1.Error.Blocked"));
}

Test(outcome, the_gravest_of_all_targets)
{
	static const struct {
		const char *list;
		int code;
	} cases[] = {
		{"[]", 0},
		{"[{'result':'applied'}]", 0},
		{"[{'result':'reverted'},{'result':'unchanged'}]", 0},
		{"[{'pid':1}]", 0},
		{"[{'result':'applied'},{'result':'blocked'}]", 3},
		{"[{'result':'refused'},{'result':'blocked'}]", 4},
		{"[{'result':'gone'},{'result':'refused'}]", 5},
		{"[{'result':'failed'},{'result':'gone'}]", 1},
		{"[{'result':'never heard of'}]", 1},
		{"[{'result':'refused','error':'org.dsud1.Error.BadSignature'}]", 6},
		{"[{'result':'refused','error':'org.dsud1.Error.NoSuchProcess'}]", 5},
		{"[{'result':'unchanged','error':'org.dsud1.Error.Cancelled'}]", 1},
		{"[{'result':'unchanged','error':'org.dsud1.Error.Cancelled'},"
		 "{'result':'blocked','error':'org.dsud1.Error.Blocked'}]", 3},
		{"[{'result':'failed','error':'org.dsud1.Error.Busy'},{'result':'blocked'}]", 1},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		char text[256];
		CTL_JSON json_t *list = NULL;

		snprintf(text, sizeof(text), "%s", cases[i].list);
		for (char *c = text; *c; c++)
			*c = *c == '\'' ? '"' : *c;
		list = json_loads(text, 0, NULL);
		cr_assert_not_null(list);
		cr_assert_eq((int)ctl_outcome_of_list(list), cases[i].code, "%s", text);
	}
}
