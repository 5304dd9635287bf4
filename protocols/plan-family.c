/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where else the old version of a replaced function lives, and whom else a redirect would change.
 * Parts that the compiler put elsewhere are watched with the function. Clones (.constprop, .isra,
 * .part) and copies inlined into other functions
 * would stay old: they are accepted only where nothing but replaced functions can get to them.
 * Functions that compiler or linker found identical and merged are accepted only together; a mere
 * alias is noted.
 *
 * Without debug information inlined copies cannot be seen; the report says so.
 */
#include <stdio.h>
#include <string.h>

#include "injector/redirect/callers.h"
#include "injector/symbol/debug-info.h"
#include "protocols/plan.h"

#define SEARCH_NS 3000000000ull
#define MAX_LISTED 6

/* What a suffix of a name says. */
enum kin {
	KIN_NAMESAKE, /* another function */
	KIN_PART,     /* code of the function itself */
	KIN_CLONE,    /* a copy for some callers */
};

static bool has_suffix(const char *name, const char *suffix)
{
	const size_t n = strlen(suffix);

	for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.'))
		if (strncmp(dot + 1, suffix, n) == 0 && (dot[n + 1] == '\0' || dot[n + 1] == '.'))
			return true;
	return false;
}

static enum kin kin_of(const char *name)
{
	static const char *const clones[] = { "part", "constprop", "isra", "clone" };

	if (has_suffix(name, "cold") || has_suffix(name, "warm"))
		return KIN_PART;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(clones); i++)
		if (has_suffix(name, clones[i]))
			return KIN_CLONE;
	return KIN_NAMESAKE;
}

/* Everything known of the relatives of one change. */
struct family {
	struct upd_change *change;
	struct inj_symbol *siblings;
	size_t n_siblings;
};

struct families {
	struct family *items;
	size_t n;
};

static void free_families(struct families *families)
{
	for (size_t i = 0; i < families->n; i++)
		free(families->items[i].siblings);
	free(families->items);
}

static struct inj_range range_of(const struct inj_symbol *symbol)
{
	return (struct inj_range){ symbol->address, symbol->address + symbol->size };
}

static bool is_replaced(const struct upd_plan *plan, inj_addr address)
{
	for (size_t i = 0; i < plan->n_changes; i++)
		if (plan->changes[i].symbol.address == address)
			return true;
	return false;
}

static bool is_replaced_code(const struct upd_plan *plan, inj_addr address)
{
	for (size_t i = 0; i < plan->n_changes; i++) {
		const struct upd_change *change = &plan->changes[i];

		if (change->below)
			continue;
		if (address - change->entry < change->size)
			return true;
		for (size_t j = 0; j < change->n_parts; j++)
			if (inj_range_has(change->parts[j], address))
				return true;
	}
	return false;
}

/* Can nothing but replaced code get to a clone? Clones are called directly. Return: 1, 0, or
 * negative errno. */
static int is_cut_off(const struct upd_plan *plan, const struct upd_change *change,
		      const struct inj_symbol *clone, inj_addr *ret_caller)
{
	INJ_FREE inj_addr *callers = calloc(INJ_MAX_CALL_SITES, sizeof(*callers));
	struct inj_text text = { .address = clone->address, .size = clone->size };
	size_t n = 0;
	int r = callers ? 0 : -ENOMEM;

	*ret_caller = 0;
	upd_change_show_code(change, &text);
	if (r == 0)
		r = inj_call_sites(&text, callers, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (!is_replaced_code(plan, callers[i])) {
			*ret_caller = callers[i];
			return 0;
		}
	return n > 0 && n < INJ_MAX_CALL_SITES;
}

static int refuse_clone(const struct upd_subject *subject, const struct upd_change *change,
			const struct inj_symbol *clone, inj_addr caller, struct inj_why *why)
{
	struct inj_symbol user;
	const char *name = caller && inj_symbol_at(subject->modules, caller, &user)
				   ? user.name
				   : "some callers";

	return inj_refuse(why, INJ_INLINED,
			  "The compiler made a specialised copy %s of %s in %s, which %s uses "
			  "instead and which would stay old. Replace the copy too "
			  "(DSU_REPLACE_NAMED), or the functions that use it.",
			  clone->name, change->symbol.name, change->symbol.module->name, name);
}

/* A clone is done with when it is replaced, or when it can only be reached from replaced code: then
 * it is part of it. */
static int settle_clone(const struct upd_subject *subject, const struct upd_plan *plan,
			struct upd_change *change, const struct inj_symbol *clone,
			struct inj_why *why)
{
	inj_addr caller;
	int r;

	if (is_replaced(plan, clone->address) || is_replaced_code(plan, clone->address))
		return 0;
	r = is_cut_off(plan, change, clone, &caller);
	if (r < 0)
		return inj_broke(why, r, "looking for callers of %s", clone->name);
	if (r == 0)
		return refuse_clone(subject, change, clone, caller, why);
	r = upd_change_add_part(change, range_of(clone));
	return r < 0 ? inj_broke(why, r, "making a plan") : 0;
}

/* Clones may call each other: in whatever order, what is cut off becomes known sooner or later. */
static int settle_clones(const struct upd_subject *subject, const struct upd_plan *plan,
			 const struct families *families, struct inj_why *why)
{
	size_t n_left = 0, n_before;
	int r;

	do {
		n_before = n_left;
		n_left = 0;
		r = 0;
		for (size_t i = 0; r >= 0 && i < families->n; i++)
			for (size_t j = 0; r >= 0 && j < families->items[i].n_siblings; j++) {
				const struct family *family = &families->items[i];
				const struct inj_symbol *clone = &family->siblings[j];
				int first;

				if (clone->address == family->change->symbol.address ||
				    kin_of(clone->name) != KIN_CLONE)
					continue;
				first = settle_clone(subject, plan, family->change, clone, why);
				n_left += first > 0;
				r = first ? first : r;
			}
	} while (r > 0 && n_left != n_before);
	return r;
}

static int collect_parts(struct family *family)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < family->n_siblings; i++)
		if (family->siblings[i].address != family->change->symbol.address &&
		    kin_of(family->siblings[i].name) == KIN_PART)
			r = upd_change_add_part(family->change, range_of(&family->siblings[i]));
	return r;
}

static int collect(const struct upd_subject *subject, struct upd_plan *plan, struct families *ret)
{
	ret->items = calloc(plan->n_changes + 1, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_changes; i++) {
		struct family *family = &ret->items[ret->n];
		int r;

		if (plan->changes[i].below)
			continue;
		family->change = &plan->changes[i];
		ret->n++;
		r = inj_symbol_siblings(subject->modules, &family->change->symbol,
					&family->siblings, &family->n_siblings);
		if (r == 0)
			r = collect_parts(family);
		if (r < 0)
			return r;
	}
	return 0;
}

/* "__GI___read" and "read": names that one function has by convention. */
static const char *bare_name(const char *name)
{
	static const char *const prefixes[] = { "_", "GI_", "libc_", "IO_" };

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(prefixes); i++) {
		const size_t n = strlen(prefixes[i]);

		if (strncmp(name, prefixes[i], n) == 0 && name[n] != '\0') {
			name += n;
			i = (size_t)-1;
		}
	}
	return name;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Constructors and destructors of C++ have several names each: C1, C2, D0, D1, D2. */
static bool is_same_structor(const char *a, const char *b)
{
	size_t i = 0;

	if (strncmp(a, "_Z", 2) != 0)
		return false;
	while (a[i] != '\0' && a[i] == b[i])
		i++;
	return i > 0 && (a[i - 1] == 'C' || a[i - 1] == 'D') && is_digit(a[i]) && is_digit(b[i]) &&
	       strcmp(a + i + 1, b + i + 1) == 0;
}

static bool is_mere_alias(const char *a, const char *b)
{
	return strcmp(bare_name(a), bare_name(b)) == 0 || is_same_structor(a, b) || strchr(b, '.');
}

/* Does the patch replace the function under this name as well? */
static bool is_wanted(const struct upd_plan *plan, const struct inj_symbol *symbol)
{
	for (size_t i = 0; i < plan->n_twins; i++)
		if (plan->twins[i].address == symbol->address &&
		    strcmp(plan->twins[i].wanted->name, symbol->name) == 0)
			return true;
	return false;
}

static bool is_twin(const struct upd_plan *plan, const struct family *family,
		    const struct inj_symbol *symbol)
{
	return symbol->address == family->change->symbol.address &&
	       !is_mere_alias(family->change->symbol.name, symbol->name) &&
	       !is_wanted(plan, symbol);
}

static int refuse_twin(const struct upd_change *change, const char *twin, struct inj_why *why)
{
	return inj_refuse(why, INJ_INLINED,
			  "%s and %s of %s are two functions with one code at 0x%llx (identical "
			  "code was merged), so both would change. If both are meant, name both in "
			  "the patch, with the same new function; else rebuild the program without "
			  "merging (-fno-ipa-icf, --icf=none).",
			  change->symbol.name, twin, change->symbol.module->name,
			  (unsigned long long)change->symbol.address);
}

/* Everything that is asked of the debug information of one module. */
struct inquiry {
	const struct inj_module *module;
	struct inj_debug_function *functions;
	const struct family **families; /* of the functions */
	size_t n_functions;
	struct inj_debug_twin *names;
	const struct family **families_of_names;
	const struct inj_symbol **symbols; /* of the names */
	size_t n_names;
	enum inj_knowledge knowledge;
};

static void free_inquiry(struct inquiry *inquiry)
{
	inj_debug_functions_deinit(inquiry->functions, inquiry->n_functions);
	free(inquiry->functions);
	free(inquiry->families);
	free(inquiry->names);
	free(inquiry->families_of_names);
	free(inquiry->symbols);
}

static void add_names(const struct upd_plan *plan, const struct family *family,
		      struct inquiry *inquiry)
{
	for (size_t i = 0; i < family->n_siblings; i++) {
		const struct inj_symbol *symbol = &family->siblings[i];

		if (!is_twin(plan, family, symbol))
			continue;
		inquiry->names[inquiry->n_names] = (struct inj_debug_twin){
			.name = symbol->name, .exported = symbol->binding != STB_LOCAL,
			.address = symbol->address,
		};
		inquiry->symbols[inquiry->n_names] = symbol;
		inquiry->families_of_names[inquiry->n_names++] = family;
	}
}

static int make_inquiry(const struct upd_plan *plan, const struct families *families,
			const struct inj_module *module, struct inquiry *ret)
{
	size_t n_names = 0;

	for (size_t i = 0; i < families->n; i++)
		n_names += families->items[i].n_siblings;
	*ret = (struct inquiry){ .module = module };
	ret->functions = calloc(families->n + 1, sizeof(*ret->functions));
	ret->families = calloc(families->n + 1, sizeof(*ret->families));
	ret->names = calloc(n_names + 1, sizeof(*ret->names));
	ret->families_of_names = calloc(n_names + 1, sizeof(*ret->families_of_names));
	ret->symbols = calloc(n_names + 1, sizeof(*ret->symbols));
	if (!ret->functions || !ret->families || !ret->names || !ret->families_of_names ||
	    !ret->symbols)
		return -ENOMEM;
	for (size_t i = 0; i < families->n; i++) {
		const struct family *family = &families->items[i];

		if (family->change->symbol.module != module)
			continue;
		ret->functions[ret->n_functions].symbol = &family->change->symbol;
		ret->families[ret->n_functions++] = family;
		add_names(plan, family, ret);
	}
	return 0;
}

/* Two names of one code: aliases, unless something says that they are two functions. */
static int judge_twins(struct upd_plan *plan, const struct inquiry *inquiry, struct inj_why *why)
{
	const bool may_be_folded = inj_module_may_be_folded(inquiry->module);

	for (size_t i = 0; i < inquiry->n_names; i++) {
		const struct inj_debug_twin *name = &inquiry->names[i];
		struct upd_change *change = inquiry->families_of_names[i]->change;
		const bool known = inquiry->knowledge == INJ_KNOWN_WHOLLY;
		/* Compilers merge static functions, linkers any; who gives an alias to a function
		 * mostly exports it. */
		const bool suspect = may_be_folded || !name->exported ||
				     change->symbol.binding == STB_LOCAL;

		if (name->merged || (!known && suspect))
			return refuse_twin(change, name->name, why);
		upd_plan_note(plan, "%s is also called %s, which changes with it",
			      change->symbol.name, name->name);
	}
	return 0;
}

struct listing {
	char text[320];
	size_t used, n;
};

static void list(struct listing *listing, const char *name)
{
	if (listing->n++ >= MAX_LISTED || listing->used >= sizeof(listing->text))
		return;
	listing->used += (size_t)snprintf(listing->text + listing->used,
					  sizeof(listing->text) - listing->used, "%s%.48s",
					  listing->n > 1 ? ", " : "", name);
}

static int refuse_inlined(const struct upd_change *change, const struct listing *hosts,
			  struct inj_why *why)
{
	return inj_refuse(why, INJ_INLINED,
			  "%s of %s is inlined into %s%s, where the old version would stay. "
			  "Replace %s in the same patch as well (compiled from their own source, "
			  "they bring the new version along).",
			  change->symbol.name, change->symbol.module->name, hosts->text,
			  hosts->n > MAX_LISTED ? " and others" : "", hosts->n > 1 ? "them" : "it");
}

/* Which hosts would keep an old copy? */
static int judge_copies(const struct upd_subject *subject, const struct upd_plan *plan,
			const struct inquiry *inquiry, struct inj_why *why)
{
	for (size_t i = 0; i < inquiry->n_functions; i++) {
		const struct inj_debug_function *function = &inquiry->functions[i];
		struct listing listing = {};

		for (size_t j = 0; j < function->n_hosts; j++) {
			const inj_addr host = function->hosts[j].address;
			struct inj_symbol symbol;
			char number[24];

			if (is_replaced_code(plan, host))
				continue;
			snprintf(number, sizeof(number), "0x%llx", (unsigned long long)host);
			list(&listing,
			     inj_symbol_at(subject->modules, host, &symbol) ? symbol.name : number);
		}
		if (listing.n > 0)
			return refuse_inlined(inquiry->families[i]->change, &listing, why);
	}
	return 0;
}

static int take_parts(const struct inquiry *inquiry)
{
	int r = 0;

	for (size_t i = 0; i < inquiry->n_functions; i++)
		for (size_t j = 0; r == 0 && j < inquiry->functions[i].n_parts; j++)
			r = upd_change_add_part(inquiry->families[i]->change,
						inquiry->functions[i].parts[j]);
	return r;
}

static void note_knowledge(struct upd_plan *plan, const struct inquiry *inquiry)
{
	if (inquiry->knowledge == INJ_KNOWN_NOT)
		upd_plan_note(
			plan,
			"%s has no debug information: copies of its functions inlined into others "
			"cannot be seen",
			inquiry->module->name);
	else if (inquiry->knowledge == INJ_KNOWN_PARTLY)
		upd_plan_note(plan,
			      "the debug information of %s could only be read in part: copies of "
			      "its functions inlined into others may have been missed",
			      inquiry->module->name);
}

static int ask_about(const struct upd_subject *subject, struct upd_plan *plan,
		     const struct families *families, const struct inj_module *module,
		     struct inj_why *why)
{
	INJ_CLEANUP(free_inquiry) struct inquiry inquiry = {};
	int r = make_inquiry(plan, families, module, &inquiry);

	if (r == 0)
		r = inj_debug_search(subject->modules, module, inquiry.functions,
				     inquiry.n_functions, inquiry.names, inquiry.n_names, SEARCH_NS,
				     &inquiry.knowledge);
	if (r == 0)
		r = take_parts(&inquiry);
	if (r < 0)
		return inj_broke(why, r, "reading the debug information of %s", module->name);
	note_knowledge(plan, &inquiry);
	r = judge_twins(plan, &inquiry, why);
	return r == 0 ? judge_copies(subject, plan, &inquiry, why) : r;
}

static bool is_first_of_module(const struct families *families, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (families->items[i].change->symbol.module ==
		    families->items[index].change->symbol.module)
			return false;
	return true;
}

int upd_plan_family(const struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why)
{
	INJ_CLEANUP(free_families) struct families families = {};
	int r = collect(subject, plan, &families);

	if (r < 0)
		return inj_broke(why, r, "looking for copies of the functions");
	for (size_t i = 0; r == 0 && i < families.n; i++)
		if (is_first_of_module(&families, i))
			r = ask_about(subject, plan, &families,
				      families.items[i].change->symbol.module, why);
	return r == 0 ? settle_clones(subject, plan, &families, why) : r;
}
