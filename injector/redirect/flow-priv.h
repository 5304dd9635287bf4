/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_FLOW_PRIV_H
#define INJ_REDIRECT_FLOW_PRIV_H

#include "injector/redirect/arrivals.h"
#include "injector/redirect/site.h"

#define INJ_WINDOW_MAX 256
#define INJ_FLOW_MAX_REFERS 1024

/* Who leads where, as far as the entry and the padding around the function are concerned. */
struct inj_flow_map {
	uint32_t sources[INJ_SITE_MAX_COVERED]; /* per target offset: bit n set: branch at offset n
						 */
	uint32_t outside;   /* bit n set: offset n is reached from beyond the first 32 bytes, from
			       other code or through data */
	bool opaque;        /* any instruction start may be reached */
	bool runs_on;       /* the last instruction may lead into what follows the function */
	bool switches;      /* there is an indirect jump */
	bool leaves;        /* there is a direct jump to elsewhere */
	uint8_t before[INJ_WINDOW_MAX]; /* 1: byte of text's window that a branch leads to */
	uint8_t after[INJ_WINDOW_MAX];
	inj_addr refers[INJ_FLOW_MAX_REFERS]; /* addresses that the function's code forms */
	size_t n_refers;
};

/*
 * Decode the function and note its branches, then look elsewhere for more (rel32 jumps in the
 * module's code, tables in its data).
 * text: checked for wrap-around; ret_map: filled.
 * State: pure.
 * Return: nothing; what cannot be known is noted as the worst.
 * Errors: none.
 * Source: see inj_site_examine.
 */
void inj_flow_collect(const struct inj_text *text, struct inj_flow_map *ret_map);

/*
 * Look through the data that the function's code refers to for addresses of its entry bytes.
 * map: refers filled; marks found offsets in map->outside.
 * State: pure but for text->read.
 * Return: nothing.
 * Errors: none; data that cannot be read holds no tables.
 * Source: see inj_site_examine.
 */
void inj_flow_read_tables(const struct inj_text *text, struct inj_flow_map *map);

#endif
