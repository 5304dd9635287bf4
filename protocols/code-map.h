/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_CODE_MAP_H
#define UPD_CODE_MAP_H

#include "injector/abi/ledger.h"
#include "injector/descriptor/history.h"
#include "injector/redirect/translate.h"
#include "injector/unwind/activity.h"

/*
 * Our own code inside a target: stubs, return pads and patch images of this and of earlier updates.
 * Tells the walker what a pc there stands for and where the unwind tables are.
 */
struct upd_code_stub {
	struct inj_range range;
	struct inj_detour detour;      /* its map points at `map` once sealed */
	struct inj_relocated map[32];
};

/* A return pad in use, and the return address that it stands for. */
struct upd_code_pad {
	struct inj_range code;
	inj_addr back;
};

struct upd_code_map {
	struct upd_code_stub *stubs; /* ascending once sealed */
	size_t n_stubs;
	struct upd_code_pad *pads;
	size_t n_pads;
	struct inj_walker_table *tables; /* bytes are owned by the map */
	size_t n_tables;
	size_t n_frames_bytes;           /* read from the target, bounded */
	bool is_forgotten; /* the stubs stand for nothing */
};

/*
 * Add everything that one ledger describes; tables are read from the target.
 * map: zeroed, or added to before; ledger: checked, of this process.
 * State: running or held.
 * Return: 0.
 * Errors: -E2BIG (more tables than there can be), -ENOMEM, negative errno of inj_mem_read().
 * Source: docs/ledger.md.
 */
int upd_code_map_add(struct upd_code_map *map, const struct inj_process *process,
		     const struct inj_ledger *ledger);

/*
 * Sort; must come after the last add and before the map is used.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_code_map_seal(struct upd_code_map *map);

/*
 * From here on translate nothing; tables stay, since a walker borrows them.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_code_map_forget_stubs(struct upd_code_map *map);

/*
 * Free what a map owns; zeroed ones are fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_code_map_deinit(struct upd_code_map *map);

/*
 * What a pc in one of our stubs or pads stands for. An inj_translate_fn.
 * context: the map, sealed.
 * State: any.
 * Return: the original pc; any other pc unchanged.
 * Errors: none.
 * Source: none.
 */
inj_addr upd_code_map_translate(void *context, inj_addr pc);

#endif
