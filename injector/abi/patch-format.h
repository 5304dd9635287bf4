/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSU_ABI_PATCH_FORMAT_H
#define DSU_ABI_PATCH_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "injector/abi/patch.h"

/*
 * The manifest as its reader sees it; docs/patch-format.md describes it field by field. The
 * section DSU_MANIFEST_SECTION of a patch holds records, each aligned to 8 bytes, in any order,
 * with nothing but zeroes between them:
 *
 *	0   struct dsu_manifest_header
 *	16  DSU_MANIFEST_PATCH: char id[128], version[128], NUL-terminated
 *	16  DSU_MANIFEST_REPLACE: address of the new function (a relocation gives it), then
 *	24  four NUL-terminated strings, one after the other: module, source file, old name, new
 *	    name; up to 7 zero bytes
 */
#define DSU_MANIFEST_ALIGN 8
#define DSU_MANIFEST_REPLACE_ADDRESS 16
#define DSU_MANIFEST_REPLACE_STRINGS 24

_Static_assert(sizeof(struct dsu_manifest_header) == 16, "layout is shared with patches");
_Static_assert(offsetof(struct dsu_manifest_header, version) == 4, "layout is shared with patches");
_Static_assert(offsetof(struct dsu_manifest_header, kind) == 6, "layout is shared with patches");
_Static_assert(offsetof(struct dsu_manifest_header, bytes) == 8, "layout is shared with patches");
_Static_assert(offsetof(struct dsu_manifest_header, flags) == 12, "layout is shared with patches");
_Static_assert(sizeof(struct dsu_manifest_patch) == 272, "layout is shared with patches");

#endif
