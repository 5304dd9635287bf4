/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes exceptions, cancellation and backtraces of the target pass through our code. The control
 * page says before each round of calls that the registry is changing, and afterwards what it holds,
 * so that whoever finds the update later knows whether its memory may go.
 */
#include "protocols/unwinder.h"

#include <string.h>

#include "injector/base/fault-point.h"
#include "injector/process/mem.h"
#include "injector/symbol/resolve.h"
#include "protocols/remote.h"
#include "protocols/draw.h"
#include "protocols/subject.h"

#define OBJECT_BYTES 64

/* Every function of libgcc's registry that takes its lock; whatever they call has one of them on
 * its stack. */
static const char *const locking[] = {
	"_Unwind_Find_FDE",	    "__register_frame_info_bases",
	"__register_frame_info",    "__register_frame_info_table_bases",
	"__deregister_frame_info",  "__deregister_frame_info_bases",
	"__register_frame_info_table",
};

_Static_assert(INJ_ARRAY_LENGTH(locking) <= UPD_N_LOCKED, "there is room for all");

static bool find(const struct inj_modules *modules, const struct inj_module *module,
		 const char *name, struct inj_symbol *ret)
{
	return inj_resolve_function(modules, module->name, NULL, name, ret, NULL) == 0;
}

static void find_helpers(const struct inj_modules *modules, const struct inj_module *module,
			 struct upd_unwinder *ret)
{
	const struct {
		const char *name;
		inj_addr *address;
	} wanted[] = {
		{ "_Unwind_GetIP", &ret->helpers.get_ip },
		{ "_Unwind_SetIP", &ret->helpers.set_ip },
		{ "_Unwind_SetGR", &ret->helpers.set_gr },
		{ "_Unwind_Resume", &ret->helpers.resume },
	};

	ret->passes = true;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(wanted); i++) {
		struct inj_symbol symbol;

		if (find(modules, module, wanted[i].name, &symbol))
			*wanted[i].address = symbol.address;
		else
			ret->passes = false;
	}
}

/* Does some module bring its own way of unwinding, which knows nothing of us? */
bool upd_unwinder_may_unwind(const struct inj_modules *modules)
{
	for (size_t i = 0; i < modules->n_items; i++) {
		const struct inj_module *module = modules->items[i];

		if (module->kind == INJ_MODULE_VDSO || module->kind == INJ_MODULE_INTERPRETER ||
		    strcmp(module->name, "libc.so.6") == 0)
			continue;
		if (inj_elf_n_sections(module->elf) == 0 ||
		    inj_elf_section_named(module->elf, ".gcc_except_table") ||
		    inj_elf_section_named(module->elf, ".gopclntab"))
			return true;
	}
	return false;
}

void upd_unwinder_find(const struct inj_modules *modules, struct upd_unwinder *ret)
{
	const struct inj_module *module = inj_modules_named(modules, "libgcc_s.so.1");
	struct inj_symbol tell, forget, search, symbol;

	*ret = (struct upd_unwinder){ .may_unwind = upd_unwinder_may_unwind(modules) };
	if (!module)
		module = inj_modules_main(modules);
	if (!find(modules, module, "__register_frame_info", &tell) ||
	    !find(modules, module, "__deregister_frame_info", &forget) ||
	    !find(modules, module, "_Unwind_Find_FDE", &search) || search.size == 0)
		return;
	ret->tell = tell.address;
	ret->forget = forget.address;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(locking); i++)
		if (find(modules, module, locking[i], &symbol))
			ret->locked[i] = (struct inj_range){ symbol.address,
							     symbol.address + symbol.size };
	find_helpers(modules, module, ret);
}

/* Addresses of the tables of a record, in the order of registration. Areas are sound: the record
 * was checked or is ours. */
static size_t tables_of(const struct dsu_ledger *record, inj_addr tables[DSU_N_UNWIND_OBJECTS])
{
	const struct dsu_ledger_area *areas =
		(const void *)((const uint8_t *)record + record->areas);
	size_t n = 0;

	for (size_t i = 0; i < record->n_areas && n < DSU_N_UNWIND_OBJECTS - 1; i++)
		if (areas[i].kind == DSU_AREA_FRAMES)
			tables[n++] = areas[i].address;
	if (record->image_eh_frame)
		tables[n++] = record->image_eh_frame;
	return n;
}

static int set_state(struct inj_writer *writer, const struct dsu_ledger *record,
		     enum dsu_unwind_state state, struct inj_why *why)
{
	int r = inj_writer_store(
		writer, record->control + offsetof(struct dsu_control, unwind_state), state);

	if (r < 0)
		return inj_broke(why, r, "noting the state of the unwind tables");
	inj_fault_point(state == DSU_UNWIND_CHANGING ? "unwind-changing" : "unwind-settled");
	return 0;
}

int upd_unwinder_tell(struct upd_remote *remote, const struct upd_unwinder *unwinder,
		      const struct dsu_ledger *record, struct inj_why *why)
{
	const inj_addr objects =
		record->control + offsetof(struct dsu_control_page, unwind_objects);
	inj_addr tables[DSU_N_UNWIND_OBJECTS];
	const size_t n = tables_of(record, tables);
	int r;

	if (!unwinder->tell)
		return 0;
	/*
	 * Whatever can fail without consequences fails before the state says that calls may have
	 * been made.
	 */
	r = upd_remote_open(remote, why);
	if (r == 0)
		r = set_state(remote->subject->writer, record, DSU_UNWIND_CHANGING, why);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = upd_remote_call(remote, unwinder->tell, tables[i], objects + OBJECT_BYTES * i,
				    NULL, why);
	if (r == 0)
		r = set_state(remote->subject->writer, record, DSU_UNWIND_REGISTERED, why);
	return r;
}

static const struct dsu_ledger_area *area_of(const struct inj_ledger *ledger, uint32_t kind)
{
	for (size_t i = 0; i < ledger->record->n_areas; i++)
		if (ledger->areas[i].kind == kind)
			return &ledger->areas[i];
	return NULL;
}

/*
 * An object that a search has sorted owns heap memory, which forgetting it would free, in a thread
 * that may be inside malloc: not to be asked for. struct object of libgcc: the bit `sorted` is the
 *   lowest of the word at 32.
 */
static bool was_used(const struct upd_subject *subject, const struct dsu_ledger *record, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const inj_addr object = record->control +
					offsetof(struct dsu_control_page, unwind_objects) +
					OBJECT_BYTES * i;
		uint64_t bits;

		if (inj_mem_read(subject->process, object + 32, &bits, sizeof(bits)) < 0 ||
		    (bits & 1))
			return true;
	}
	return false;
}

static int forget_all(struct upd_subject *subject, const struct inj_ledger *ledger,
		      const struct upd_unwinder *unwinder, struct upd_remote *remote,
		      struct inj_why *why)
{
	inj_addr tables[DSU_N_UNWIND_OBJECTS];
	const size_t n = tables_of(ledger->record, tables);
	int r;

	if (was_used(subject, ledger->record, n))
		return 1;
	r = upd_remote_open(remote, why);
	if (r == 0)
		r = set_state(subject->writer, ledger->record, DSU_UNWIND_CHANGING, why);
	for (size_t i = n; r == 0 && i-- > 0;)
		r = upd_remote_call(remote, unwinder->forget, tables[i], 0, NULL, why);
	if (r == 0)
		r = set_state(subject->writer, ledger->record, DSU_UNWIND_NONE, why);
	return r;
}

int upd_unwinder_forget(struct upd_subject *subject, const struct inj_ledger *ledger,
			uint64_t deadline_ns, struct inj_why *why)
{
	const struct dsu_ledger_area *stubs = area_of(ledger, DSU_AREA_STUBS);
	const struct dsu_ledger_area *scratch = area_of(ledger, DSU_AREA_SCRATCH);
	struct upd_unwinder unwinder;
	int r;

	if (ledger->control.unwind_state == DSU_UNWIND_NONE)
		return 0;
	r = upd_look_for_unwinder(subject, true, &unwinder, why);
	if (r != 0)
		return r;
	if (ledger->control.unwind_state != DSU_UNWIND_REGISTERED || !unwinder.forget || !stubs ||
	    !scratch)
		return 1;
	INJ_CLEANUP(upd_remote_deinit) struct upd_remote remote = {
		.subject = subject, .pad = stubs->address, .avoid = unwinder.locked,
		.stack_top = scratch->address + scratch->bytes, .deadline_ns = deadline_ns,
	};
	return forget_all(subject, ledger, &unwinder, &remote, why);
}
