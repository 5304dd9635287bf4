/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSU_ABI_LEDGER_H
#define DSU_ABI_LEDGER_H

#include <stddef.h>
#include <stdint.h>

/*
 * The record of one update inside a target. All numbers little-endian, all offsets from the start
 * of the record, all addresses virtual addresses of the target. docs/ledger.md draws it.
 *
 * Each update maps one memfd named "dsu:<patch id>" in several areas. The record stands at the
 * start of the home area, read-only; the control page stands alone below 2 GiB, so that every stub
 * reaches it with a 32-bit displacement. All
 * mappings are private: a forked child has its own copy of everything.
 */
#define DSU_LEDGER_MAGIC 0x3152474c4b555344ull  /* "DSUKLGR1" */
#define DSU_CONTROL_MAGIC 0x314c52544b555344ull /* "DSUKTRL1" */
#define DSU_LEDGER_VERSION 1

/* What the control page says. The truth is `generation`: 1 means that the new code runs. */
enum dsu_phase {
	DSU_PHASE_STAGED = 1,   /* mapped, sites perhaps installed, never committed */
	DSU_PHASE_ACTIVE = 2,   /* committed once; generation 0 here: a revert was committed but not
				   tidied up */
	DSU_PHASE_REVERTED = 3, /* sites restored; code stays mapped because pointers to it may live
				   on */
};

struct dsu_control {
	uint64_t magic;
	uint64_t generation; /* the one word that all stubs of the update read (its lowest byte);
				written by one aligned store */
	uint64_t phase;
	uint64_t applied_at_ns; /* CLOCK_REALTIME, written before the commit */
	uint64_t sequence;      /* order among the updates of this process; higher stands above */
	uint64_t ledger;        /* address of the record */
	uint64_t unwind_state;  /* enum dsu_unwind_state */
	uint64_t reserved;
};

/* Are the .eh_frame tables known to the target's own unwinder? */
enum dsu_unwind_state {
	DSU_UNWIND_NONE = 0,
	DSU_UNWIND_CHANGING = 1, /* a call was under way when we last wrote; the memory must stay
				    mapped for ever */
	DSU_UNWIND_REGISTERED = 2,
};

/* A return pad: a thread that leaves a function through it waits a bounded time for the worker to
 * notice. */
struct dsu_pad {
	uint64_t back;    /* the real return address; the pad ends in a jump through it */
	uint64_t slot;    /* stack address where the return address was exchanged, 0 when free */
	uint32_t arrived; /* counts passes */
	uint32_t armed;   /* non-zero: wait */
	uint32_t spins;   /* bound of the wait, counted down */
	uint32_t reserved;
};

#define DSU_N_PADS 62
/* Bits of dsu_ledger.flags. */
/* exceptions pass through the pads, also to a handler right behind them */
#define DSU_LEDGER_PADS_PASS 1u
#define DSU_N_UNWIND_OBJECTS 12

/* The control page, below 2 GiB, read-write. */
struct dsu_control_page {
	struct dsu_control head;
	uint8_t reserved[192];
	uint8_t unwind_objects[DSU_N_UNWIND_OBJECTS][64]; /* storage of libgcc's struct object, 48
							     bytes each at most */
	struct dsu_pad pads[DSU_N_PADS];
};

struct dsu_ledger {
	uint64_t magic;
	uint32_t version;
	uint32_t total_bytes;     /* the whole record */
	uint8_t update_id[16];    /* the same in every process of one update */
	uint64_t control;         /* address of the control page */
	uint32_t checksum;        /* CRC-32 (zlib) of the record with this field 0 */
	uint32_t flags;
	uint32_t patch_id;        /* offsets of NUL-terminated strings */
	uint32_t patch_version;
	uint32_t patch_digest;
	uint32_t protocol;
	uint32_t areas;           /* offset of struct dsu_ledger_area[n_areas] */
	uint32_t n_areas;
	uint32_t sites;           /* offset of struct dsu_ledger_site[n_sites] */
	uint32_t n_sites;
	uint64_t image_eh_frame;  /* .eh_frame of the patch, 0 when it has none */
	uint64_t image_eh_frame_bytes;
	uint64_t image_base;      /* patch vaddr v lies at image_base + v - image_vaddr */
	uint64_t image_vaddr;
	uint64_t image_bytes;
	uint32_t n_members;       /* processes of the update */
	uint32_t reserved0;
	uint64_t reserved[4];
};

/* A stretch of the memfd mapped in the target. */
struct dsu_ledger_area {
	uint64_t address;
	uint64_t bytes;
	uint64_t offset; /* in the memfd */
	uint32_t prot;
	uint32_t kind;   /* enum dsu_area_kind; the control area comes first, then the ledger */
};

enum dsu_area_kind {
	DSU_AREA_CONTROL = 1,
	DSU_AREA_LEDGER = 2,
	DSU_AREA_STUBS = 3,
	DSU_AREA_IMAGE = 4,
	DSU_AREA_SCRATCH = 5, /* stack for remote calls; gone once the update is staged */
	DSU_AREA_FRAMES = 6,  /* .eh_frame of the stubs or pads area before it in the list */
	DSU_AREA_PADS = 7,    /* DSU_N_PADS return pads and the personality routine of their
				 frames */
};

/* One replaced function. */
struct dsu_ledger_site {
	uint64_t address;     /* entry of the old function */
	uint64_t size;        /* of the old function */
	uint64_t replacement; /* entry of the new one */
	uint64_t replacement_size;
	uint64_t stub;
	uint64_t pad;         /* padding used by a short site, else 0 */
	uint32_t module;      /* string: name */
	uint32_t build_id;    /* string: hex */
	uint32_t name;        /* string: old function */
	uint32_t new_name;
	uint16_t stub_bytes;
	uint8_t kind;         /* enum inj_site_kind */
	uint8_t n_covered;
	uint8_t n_map;
	uint8_t n_writes;
	uint8_t n_kept;       /* bytes at the entry that were left as they are (endbr64) */
	uint8_t n_written;    /* bytes overwritten behind them */
	uint8_t covered[32];
	struct {
		uint8_t from;
		uint8_t to;
	} map[32];            /* instruction starts: offset in the site, offset in the stub */
	struct {
		uint64_t address;
		uint8_t n;
		uint8_t before[7];
		uint8_t after[7];
		uint8_t reserved;
	} writes[2];          /* in the order of installation */
};

_Static_assert(sizeof(struct dsu_control) == 64, "layout is shared with targets");
_Static_assert(offsetof(struct dsu_control_page, unwind_objects) == 256, "layout is shared");
_Static_assert(offsetof(struct dsu_control_page, pads) == 1024, "layout is shared with targets");
_Static_assert(sizeof(struct dsu_pad) == 32, "pads address its fields");
_Static_assert(sizeof(struct dsu_control_page) <= 4096, "one page");
_Static_assert(offsetof(struct dsu_control, generation) == 8, "stubs read it there");
_Static_assert(sizeof(struct dsu_ledger) == 160, "layout is shared with targets");
_Static_assert(sizeof(struct dsu_ledger_area) == 32, "layout is shared with targets");
_Static_assert(sizeof(struct dsu_ledger_site) == 216, "layout is shared with targets");

#endif
