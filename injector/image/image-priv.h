/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_IMAGE_IMAGE_PRIV_H
#define INJ_IMAGE_IMAGE_PRIV_H

#include "injector/image/image.h"
#include "injector/image/patch-priv.h"

/*
 * Our own tail, when a patch needs one: read-execute pages after the patch's last.
 *
 *	private_offset + 0    the function behind static TLS descriptors
 *	               + 16   copy of .eh_frame, only when the patch's own has no terminator
 */
#define INJ_TAIL_TLSDESC 0
#define INJ_TAIL_EH_FRAME 16

/* Is the unwind table used from the tail? */
static inline bool inj_image_moves_eh_frame(const struct inj_image *image)
{
	return image->eh_frame_offset > image->private_offset;
}

#endif
