/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walking a stack with libunwind. Owns the address space, the cursor and the remembered rules.
 * libunwind interprets call frame information and restores registers; finding the entry, proving it
 * harmless (cfi.c) and reading memory are ours. unw_step() is not used: where there is no table it
 * guesses by frame pointers and calls a missing rbp the end. What always holds: a walk says that it
 * reached the end only when a rule says that there is no caller, or the caller's pc is 0. Refused:
 * rules libunwind cannot run safely, stacks that do not grow, loops, unknown memory.
 */
#include <string.h>

#include <libunwind.h>

#include "injector/unwind/unwind.h"

/* Exported by libunwind for those who bring find_proc_info() of their own, declared in none of its
 * headers. */
extern int _Ux86_64_dwarf_search_unwind_table(unw_addr_space_t space, unw_word_t ip,
					      unw_dyn_info_t *info, unw_proc_info_t *ret,
					      int need_unwind_info, void *argument);

enum {
	LOG_RULES = 9,
	N_RULES = 1 << LOG_RULES,
	STATE_BYTES = 256, /* libunwind's opaque rule: 8 + 19 + 19 * 8, padded */
	MAX_FRAMES = 1 << 20,
	MAX_JUMPS = 4096,	/* frames after which the stack pointer may go anywhere */
	MAX_ACCESSES = 1 << 18, /* reads of one step: DWARF expressions can loop */
};

/* Not canonical, so no target address: the one-entry search table handed to libunwind. */
#define SEARCH_TABLE_ADDRESS UINT64_C(0x8000000000000000)

enum knowledge { UNTRIED, KNOWN, NONE };

struct rule {
	inj_addr key;
	bool used;
	enum knowledge knowledge; /* of state; all else is known as soon as the rule is in use */
	bool before_entry;	  /* the next byte begins a function, and this one ends no call */
	unsigned flags;
	_Alignas(16) uint8_t state[STATE_BYTES];
};

struct inj_unwinder {
	const struct inj_unwind_tables *tables;
	inj_translate_fn translate;
	void *translate_context;
	unw_addr_space_t space;
	unw_cursor_t cursor;
	struct user_regs_struct regs;
	struct inj_frame_state frame;
	inj_window_fn window;
	void *window_context;
	struct inj_bytes stack; /* the present window */
	struct inj_bytes area;	/* the area last read */
	struct rule *rules;	/* direct-mapped by key */
	/* While libunwind parses a table: */
	bool parsing;
	struct inj_cfi cfi;
	int32_t search[2];
	inj_addr key;
	struct rule *filling;
	unsigned n_accesses;
	unsigned n_jumps;
	bool made_by_hand;    /* the present frame was put on the stack, not called */
	unsigned moved_frame; /* the last frame reached by a rule for rsp, 0: none */
	inj_addr moved_slot;  /* where its pc was */
};

static bool covers(const struct inj_bytes *bytes, inj_addr address)
{
	return bytes->n >= 8 && address >= bytes->address &&
	       address - bytes->address <= bytes->n - 8;
}

static void load(const struct inj_bytes *bytes, inj_addr address, unw_word_t *ret)
{
	memcpy(ret, bytes->data + (address - bytes->address), sizeof(*ret));
}

/*
 * Unchanging memory. libunwind reads aligned words to get at single bytes: the first and the last
 * bytes of an area may be fewer than a word.
 */
static bool load_area(struct inj_unwinder *unwinder, inj_addr address, unw_word_t *ret)
{
	if (covers(&unwinder->area, address)) {
		load(&unwinder->area, address, ret);
		return true;
	}
	size_t missing = 0;
	struct inj_bytes bytes = inj_unwind_tables_bytes(unwinder->tables, address);

	while (!bytes.n && ++missing < 8)
		bytes = inj_unwind_tables_bytes(unwinder->tables, address + missing);
	if (!bytes.n)
		return false;
	*ret = 0;
	memcpy((uint8_t *)ret + missing, bytes.data, bytes.n < 8 - missing ? bytes.n : 8 - missing);
	if (!missing && bytes.n >= 8)
		unwinder->area = bytes;
	return true;
}

static int access_table(struct inj_unwinder *unwinder, inj_addr address, unw_word_t *ret)
{
	if (address == SEARCH_TABLE_ADDRESS) {
		memcpy(ret, unwinder->search, sizeof(*ret));
		return 0;
	}
	/* Personality routines are named through relocated data; nobody here looks at the value. */
	if (!load_area(unwinder, address, ret))
		*ret = 0;
	return 0;
}

static int access_mem(unw_addr_space_t space, unw_word_t address, unw_word_t *value, int write,
		      void *argument)
{
	struct inj_unwinder *unwinder = argument;

	(void)space;
	if (write || ++unwinder->n_accesses > MAX_ACCESSES)
		return -UNW_EINVAL;
	if (unwinder->parsing)
		return access_table(unwinder, address, value);
	if (!covers(&unwinder->stack, address)) {
		if (load_area(unwinder, address, value))
			return 0;
		if (!unwinder->window(unwinder->window_context, address, &unwinder->stack) ||
		    !covers(&unwinder->stack, address)) {
			unwinder->stack.n = 0;
			return -UNW_EINVAL;
		}
	}
	load(&unwinder->stack, address, value);
	return 0;
}

static int access_reg(unw_addr_space_t space, unw_regnum_t number, unw_word_t *value, int write,
		      void *argument)
{
	const struct user_regs_struct *regs = &((struct inj_unwinder *)argument)->regs;
	const unsigned long long *const by_number[] = {
		&regs->rax, &regs->rdx, &regs->rcx, &regs->rbx, &regs->rsi, &regs->rdi,
		&regs->rbp, &regs->rsp, &regs->r8,  &regs->r9,	&regs->r10, &regs->r11,
		&regs->r12, &regs->r13, &regs->r14, &regs->r15, &regs->rip,
	};

	(void)space;
	if (write || number < 0 || (size_t)number >= INJ_ARRAY_LENGTH(by_number))
		return -UNW_EBADREG;
	*value = *by_number[number];
	return 0;
}

/* Called for the key of the present frame only, whatever pc libunwind believes in. */
static int find_proc_info(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *ret,
			  int need_unwind_info, void *argument)
{
	struct inj_unwinder *unwinder = argument;
	inj_addr start = unwinder->cfi.code.start;
	int64_t distance = (int64_t)(unwinder->cfi.fde - start);

	(void)ip;
	if (distance != (int32_t)distance)
		return -UNW_EBADFRAME;
	unwinder->search[0] = 0;
	unwinder->search[1] = (int32_t)distance;
	unw_dyn_info_t info = {
		.start_ip = start,
		.end_ip = unwinder->cfi.code.end,
		.format = UNW_INFO_FORMAT_REMOTE_TABLE,
		.u.rti = {.segbase = start, .table_len = 1, .table_data = SEARCH_TABLE_ADDRESS},
	};

	return _Ux86_64_dwarf_search_unwind_table(space, unwinder->key, &info, ret,
						  need_unwind_info, argument);
}

static void put_unwind_info(unw_addr_space_t space, unw_proc_info_t *info, void *argument)
{
	(void)space;
	(void)info;
	(void)argument;
}

static int get_dyn_info_list_addr(unw_addr_space_t space, unw_word_t *ret, void *argument)
{
	(void)space;
	(void)ret;
	(void)argument;
	return -UNW_ENOINFO;
}

static int access_fpreg(unw_addr_space_t space, unw_regnum_t number, unw_fpreg_t *value, int write,
			void *argument)
{
	(void)space;
	(void)number;
	(void)value;
	(void)write;
	(void)argument;
	return -UNW_EBADREG;
}

static int resume(unw_addr_space_t space, unw_cursor_t *cursor, void *argument)
{
	(void)space;
	(void)cursor;
	(void)argument;
	return -UNW_EINVAL;
}

static int get_proc_name(unw_addr_space_t space, unw_word_t address, char *name, size_t size,
			 unw_word_t *offset, void *argument)
{
	(void)space;
	(void)address;
	(void)name;
	(void)size;
	(void)offset;
	(void)argument;
	return -UNW_ENOINFO;
}

static unw_accessors_t accessors = {
	.find_proc_info = find_proc_info,
	.put_unwind_info = put_unwind_info,
	.get_dyn_info_list_addr = get_dyn_info_list_addr,
	.access_mem = access_mem,
	.access_reg = access_reg,
	.access_fpreg = access_fpreg,
	.resume = resume,
	.get_proc_name = get_proc_name,
};

int inj_unwinder_new(const struct inj_unwind_tables *tables, inj_translate_fn translate,
		     void *translate_context, struct inj_unwinder **ret)
{
	struct inj_unwinder *unwinder = calloc(1, sizeof(*unwinder));

	if (!unwinder)
		return -ENOMEM;
	unwinder->tables = tables;
	unwinder->translate = translate;
	unwinder->translate_context = translate_context;
	unwinder->rules = malloc(N_RULES * sizeof(*unwinder->rules));
	if (unwinder->rules)
		/* Touched here, so that the hold does not pay for the page faults. */
		memset(unwinder->rules, 0, N_RULES * sizeof(*unwinder->rules));
	unwinder->space = unw_create_addr_space(&accessors, 0);
	/* A cursor of no thread will do for reading rules. */
	if (!unwinder->rules || !unwinder->space ||
	    unw_init_remote(&unwinder->cursor, unwinder->space, unwinder) < 0) {
		inj_unwinder_free(unwinder);
		return -ENOMEM;
	}
	/* Its cache is keyed by pc alone and takes a lock with two system calls a frame; ours is
	 * unwinder->rules. */
	unw_set_caching_policy(unwinder->space, UNW_CACHE_NONE);
	*ret = unwinder;
	return 0;
}

void inj_unwinder_free(struct inj_unwinder *unwinder)
{
	if (!unwinder)
		return;
	if (unwinder->space)
		unw_destroy_addr_space(unwinder->space);
	free(unwinder->rules);
	free(unwinder);
}

void inj_walker_get_ready(void)
{
	static const struct inj_unwind_tables none;
	struct inj_unwinder *unwinder = NULL;

	if (inj_unwinder_new(&none, NULL, NULL, &unwinder) == 0)
		inj_unwinder_free(unwinder);
}

static inj_addr translated(const struct inj_unwinder *unwinder, inj_addr pc)
{
	return unwinder->translate ? unwinder->translate(unwinder->translate_context, pc) : pc;
}

const struct inj_frame_state *inj_unwinder_start(struct inj_unwinder *unwinder,
						 const struct user_regs_struct *regs,
						 inj_window_fn window, void *context)
{
	unwinder->regs = *regs;
	unwinder->regs.rip = translated(unwinder, regs->rip);
	unwinder->window = window;
	unwinder->window_context = context;
	unwinder->stack.n = 0;
	unwinder->parsing = false;
	unwinder->n_accesses = 0;
	unwinder->n_jumps = 0;
	unwinder->moved_frame = 0;
	unwinder->made_by_hand = false;
	unwinder->frame = (struct inj_frame_state){.pc = unwinder->regs.rip, .cfa = regs->rsp};
	if (unw_init_remote(&unwinder->cursor, unwinder->space, unwinder) < 0)
		return NULL;
	return &unwinder->frame;
}

static int keep_rule(void *token, void *state, size_t size, unw_word_t start, unw_word_t end)
{
	struct inj_unwinder *unwinder = token;

	if (unwinder->key < start || unwinder->key >= end)
		return 0;
	if (size > STATE_BYTES)
		return -UNW_EINVAL;
	memcpy(unwinder->filling->state, state, size);
	unwinder->filling->knowledge = KNOWN;
	return -UNW_ESTOPUNWIND;
}

/* The entry that covers a key, proven harmless. */
static bool find_entry(struct inj_unwinder *unwinder, inj_addr key)
{
	const struct inj_constant *frames;

	return !inj_unwind_tables_find(unwinder->tables, key, &unwinder->cfi, &frames) &&
	       !inj_cfi_check(frames, &unwinder->cfi);
}

/*
 * A return address at the very beginning of a function was put there by hand: the bottom of a
 * coroutine's stack (makecontext), or a function chained to another. Nothing of it has run.
 */
static bool is_before_entry(const struct inj_unwinder *unwinder, inj_addr key)
{
	const struct inj_constant *frames;
	struct inj_cfi cfi;

	return !inj_unwind_tables_find(unwinder->tables, key + 1, &cfi, &frames) &&
	       cfi.code.start == key + 1 &&
	       !inj_unwind_tables_follows_call(unwinder->tables, key + 1);
}

static struct rule *rule_for(struct inj_unwinder *unwinder, inj_addr key)
{
	struct rule *rule =
		&unwinder->rules[key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - LOG_RULES)];

	if (!rule->used || rule->key != key) {
		bool found = find_entry(unwinder, key);

		*rule = (struct rule){
			.key = key, .used = true, .knowledge = found ? UNTRIED : NONE};
		rule->flags = found ? unwinder->cfi.flags : 0;
		rule->before_entry = is_before_entry(unwinder, key);
	}
	return rule;
}

static bool complete_rule(struct inj_unwinder *unwinder, struct rule *rule)
{
	if (rule->knowledge != UNTRIED)
		return rule->knowledge == KNOWN;
	rule->knowledge = NONE;
	if (!find_entry(unwinder, rule->key))
		return false;
	unwinder->key = rule->key;
	unwinder->filling = rule;
	unwinder->parsing = true;
	unw_reg_states_iterate(&unwinder->cursor, keep_rule, unwinder);
	unwinder->parsing = false;
	return rule->knowledge == KNOWN;
}

static inj_addr saved_slot(struct inj_unwinder *unwinder)
{
	unw_save_loc_t place;

	if (unw_get_save_loc(&unwinder->cursor, UNW_X86_64_RIP, &place) ||
	    place.type != UNW_SLT_MEMORY)
		return 0;
	return place.u.addr;
}

/* The stack pointer that a rule gives to the caller, when it is not simply the CFA. */
static bool moved_stack(struct inj_unwinder *unwinder, const struct rule *rule,
			const unw_save_loc_t *place, unw_word_t *ret)
{
	if (rule->flags & INJ_CFI_STACK_VALUE) {
		*ret = place->u.addr;
		return true;
	}
	if (place->type == UNW_SLT_REG)
		return !access_reg(unwinder->space, place->u.regnum, ret, 0, unwinder);
	return !access_mem(unwinder->space, place->u.addr, ret, 0, unwinder);
}

/*
 * libunwind takes the CFA for the caller's stack pointer even when a rule says otherwise. Restore
 * the registers it knows and begin again from them. cfa: corrected.
 */
static bool follow_moved_stack(struct inj_unwinder *unwinder, const struct rule *rule,
			       unw_word_t *cfa)
{
	unw_save_loc_t place;
	unw_word_t stack;
	struct user_regs_struct regs = unwinder->regs;
	const struct {
		unw_regnum_t number;
		unsigned long long *value;
	} registers[] = {
		{UNW_X86_64_RAX, &regs.rax}, {UNW_X86_64_RDX, &regs.rdx},
		{UNW_X86_64_RCX, &regs.rcx}, {UNW_X86_64_RBX, &regs.rbx},
		{UNW_X86_64_RSI, &regs.rsi}, {UNW_X86_64_RDI, &regs.rdi},
		{UNW_X86_64_RBP, &regs.rbp}, {UNW_X86_64_R8, &regs.r8},
		{UNW_X86_64_R9, &regs.r9},   {UNW_X86_64_R10, &regs.r10},
		{UNW_X86_64_R11, &regs.r11}, {UNW_X86_64_R12, &regs.r12},
		{UNW_X86_64_R13, &regs.r13}, {UNW_X86_64_R14, &regs.r14},
		{UNW_X86_64_R15, &regs.r15}, {UNW_X86_64_RIP, &regs.rip},
	};

	if (unw_get_save_loc(&unwinder->cursor, UNW_X86_64_RSP, &place) ||
	    place.type == UNW_SLT_NONE)
		return false;
	/* Untouched by the rule in force: every earlier move began the cursor anew. */
	if (place.type == UNW_SLT_REG && place.u.regnum == UNW_X86_64_RSP)
		return true;
	if (!moved_stack(unwinder, rule, &place, &stack))
		return false;
	inj_addr slot = saved_slot(unwinder);

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(registers); i++) {
		unw_word_t value;

		/* A register that was not saved has no known value; 0 is as good as any and leads
		 * nowhere. */
		*registers[i].value =
			unw_get_reg(&unwinder->cursor, registers[i].number, &value) ? 0 : value;
	}
	regs.rsp = stack;
	unwinder->regs = regs;
	unwinder->moved_slot = slot;
	unwinder->moved_frame = unwinder->frame.number + 1;
	*cfa = stack;
	return unw_init_remote(&unwinder->cursor, unwinder->space, unwinder) >= 0;
}

/* A trampoline's entry is entered by `ret`, so it need not begin before the address that a handler
 * returns to. */
static inj_addr key_of(const struct inj_unwinder *unwinder)
{
	if (!unwinder->frame.is_call ||
	    inj_unwind_tables_trampoline(unwinder->tables, unwinder->frame.pc))
		return unwinder->frame.pc;
	return unwinder->frame.pc - 1;
}

static void arrive(struct inj_unwinder *unwinder, inj_addr pc, inj_addr cfa, bool is_call)
{
	unwinder->made_by_hand = is_call && !inj_unwind_tables_trampoline(unwinder->tables, pc) &&
				 rule_for(unwinder, pc - 1)->before_entry;
	unwinder->frame = (struct inj_frame_state){
		.pc = pc,
		.cfa = cfa,
		.is_call = is_call && !unwinder->made_by_hand,
		.number = unwinder->frame.number + 1,
	};
}

enum inj_step inj_unwinder_step(struct inj_unwinder *unwinder)
{
	unwinder->n_accesses = 0;
	struct rule *rule = rule_for(unwinder, key_of(unwinder));
	unw_word_t pc, cfa;

	if (!complete_rule(unwinder, rule) || unwinder->frame.number >= MAX_FRAMES)
		return INJ_STEP_LOST;
	int r = unw_apply_reg_state(&unwinder->cursor, rule->state);

	if (r < 0)
		return INJ_STEP_LOST;
	if (r == 0)
		return INJ_STEP_END;
	if (unw_get_reg(&unwinder->cursor, UNW_REG_IP, &pc) ||
	    unw_get_reg(&unwinder->cursor, UNW_REG_SP, &cfa))
		return INJ_STEP_LOST;
	/* What a hand-made frame would return to is its argument, not code. */
	if (pc == 0 || (unwinder->made_by_hand && !inj_unwind_tables_code(unwinder->tables, pc)))
		return INJ_STEP_END;
	if (rule->flags & (INJ_CFI_MOVED_STACK | INJ_CFI_SIGNAL)) {
		if (!follow_moved_stack(unwinder, rule, &cfa) || ++unwinder->n_jumps > MAX_JUMPS)
			return INJ_STEP_LOST;
	} else if (cfa <= unwinder->frame.cfa) {
		return INJ_STEP_LOST;
	}
	arrive(unwinder, translated(unwinder, pc), cfa, !(rule->flags & INJ_CFI_SIGNAL));
	return INJ_STEP_MORE;
}

inj_addr inj_unwinder_slot(struct inj_unwinder *unwinder)
{
	if (!unwinder->frame.number)
		return 0;
	if (unwinder->frame.number == unwinder->moved_frame)
		return unwinder->moved_slot;
	return saved_slot(unwinder);
}

bool inj_unwinder_is_odd(struct inj_unwinder *unwinder, inj_addr pc)
{
	unwinder->n_accesses = 0;
	return rule_for(unwinder, pc)->flags & (INJ_CFI_MOVED_RETURN | INJ_CFI_SIGNAL);
}
