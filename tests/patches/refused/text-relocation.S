/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* RELOCATION says what is wrong with the code. */
	.text
	.globl hello
	.type hello, @function
hello:
	RELOCATION
	ret
	.size hello, . - hello
	.section .note.GNU-stack, "", @progbits
