/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_BLUEPRINT_H
#define UPD_BLUEPRINT_H

#include "injector/descriptor/history.h"
#include "injector/image/image.h"
#include "injector/process/maps.h"
#include "protocols/unwinder.h"

struct upd_plan;

/*
 * A plan as the tracer gets it: flat bytes, made by whoever read the foreign files and trusted by
 * nobody. It says which bytes are to lie where in the target and what is to be called there; the
 * record in it is the one that the target will carry. What was checked below can be carried out
 * without looking at any file.
 *
 *   struct upd_sheet | record | parts | late words | pieces | notes | bytes of the pieces
 */
#define UPD_SHEET_MAGIC 0x3154454548535544ull /* "DUSHEET1" */

struct upd_sheet {
	uint64_t magic;
	uint64_t total_bytes;
	uint64_t memfd_bytes;
	uint64_t ledger;         /* address of the record */
	uint64_t sequence;
	uint64_t tell, forget;   /* struct upd_unwinder */
	struct inj_range locked[UPD_N_LOCKED];
	uint32_t n_ledger_bytes;
	uint32_t n_parts;
	uint32_t n_late;
	uint32_t n_pieces;
	uint32_t n_note_bytes;   /* of all notes, each ending in NUL */
	uint32_t may_unwind;     /* struct upd_unwinder */
};

/* Code elsewhere that belongs to a function that is replaced: it must not be live either. */
struct upd_part {
	struct inj_range code;
	uint64_t site; /* number in the record */
};

/* Bytes of the file that are not zero. */
struct upd_piece {
	uint64_t offset; /* in the memfd */
	uint64_t bytes;
};

#define UPD_SHEET_MAX_BYTES (1ull << 30)
#define UPD_SHEET_MAX_PARTS 65536
#define UPD_SHEET_MAX_LATE 65536
#define UPD_SHEET_MAX_NOTE_BYTES 16384
#define UPD_MAX_FUNCTION_BYTES (8u << 20)

/* What will be done to one target, checked. */
struct upd_blueprint {
	void *bytes;                     /* owned; what follows points into it unless it says
					    otherwise */
	const struct upd_sheet *sheet;
	struct inj_ledger *record;       /* owned; its control word says nothing yet */
	const struct upd_part *parts;
	const struct inj_late_word *late;
	const struct upd_piece *pieces;  /* ascending */
	const uint8_t *data;             /* of all pieces, one after the other */
	const char *notes;
	inj_addr control;
	inj_addr ledger;
	inj_addr call_pad;               /* for remote calls */
	inj_addr scratch;                /* 0 when no remote call is needed */
	size_t scratch_bytes;
	inj_addr image_base;
	uint64_t image_offset;           /* in the memfd */
	struct upd_unwinder unwinder;
	bool needs_guard;                /* the commit is more than stores of whole stub jumps */
};

/*
 * Write a finished plan down.
 * plan: finished; late, image: of linking, the image as it shall lie in the file; ret_bytes:
 *   malloc'ed, the caller's; ret_n: their number.
 * State: none; pure.
 * Return: 0.
 * Errors: -ENOMEM; -E2BIG (beyond the bounds above).
 * Source: none.
 */
int upd_blueprint_write(const struct upd_plan *plan, const struct inj_late_words *late,
			const uint8_t *image, void **ret_bytes, size_t *ret_n);

/* What a blueprint must agree with. */
struct upd_blueprint_facts {
	const struct inj_maps *maps;
	const struct inj_history *history;
	uint8_t update_id[16];
	uint32_t n_members;
	const char *protocol;
};

/*
 * Check a blueprint against the rules and against what is known of the target.
 * bytes: malloc'ed, taken over in every case. facts: read just before, borrowed for the call.
 * State: none; pure.
 * Return: 0 and a blueprint, free with upd_blueprint_free().
 * Errors: INJ_BAD_PATCH with the rule that it breaks; INJ_BUSY (an address is no longer free);
 *   -ENOMEM.
 * Source: docs/ledger.md.
 */
int upd_blueprint_check(void *bytes, size_t n_bytes, const struct upd_blueprint_facts *facts,
			struct upd_blueprint **ret, struct inj_why *why);

/*
 * Free a blueprint and its bytes; NULL is fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_blueprint_free(struct upd_blueprint *blueprint);
INJ_DEFINE_GUARD(struct upd_blueprint *, upd_blueprint_free, upd_blueprint_guard)

/*
 * Copy all pieces into a view of the memfd.
 * blueprint: checked; view: sheet->memfd_bytes long, all zero.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_blueprint_fill(const struct upd_blueprint *blueprint, uint8_t *view);

/*
 * The bytes of a place of the file.
 * offset, n: in the memfd.
 * State: any.
 * Return: borrowed from the blueprint; NULL unless they are in one piece. Every area of stubs is.
 * Errors: none.
 * Source: none.
 */
const uint8_t *upd_blueprint_bytes(const struct upd_blueprint *blueprint, uint64_t offset,
				   uint64_t n);

/*
 * May the target write to this byte of the image?
 * image_offset: from image_base.
 * State: any.
 * Return: the answer.
 * Errors: none.
 * Source: none.
 */
bool upd_blueprint_is_writable(const struct upd_blueprint *blueprint, uint64_t image_offset);

static inline const char *upd_blueprint_patch_id(const struct upd_blueprint *blueprint)
{
	return inj_ledger_string(blueprint->record, blueprint->record->record->patch_id);
}

#endif
