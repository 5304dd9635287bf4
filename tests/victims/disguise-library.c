/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The library of disguise.c, without a name of its own, so that its file's is shown. */
void through_library(void (*function)(void));

void through_library(void (*function)(void))
{
	function();
	__asm__ volatile("");
}
