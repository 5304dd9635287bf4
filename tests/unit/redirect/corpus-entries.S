/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entries that compilers seldom make, part of every corpus library: each one begins with something
 * that a redirect has to take special care of. All take small numbers and return one in rax.
 */
	.text

	.macro begin name
	.type	\name, @function
	.p2align 4
\name:
	.cfi_startproc
	.endm

	.macro finish name
	.cfi_endproc
	.size	\name, . - \name
	.section corpus, "aw"
	.p2align 3
	.quad	0f, \name, 0
	.section .rodata.names, "a"
0:	.asciz	"\name"
	.text
	.endm

begin first_jrcxz			/* rcx is the fourth argument */
	jrcxz	1f
	leaq	(%rcx,%rdi), %rax
	ret
1:	movl	$77, %eax
	ret
finish first_jrcxz

begin first_jecxz
	jecxz	1f
	movl	%ecx, %eax
	ret
1:	movl	$78, %eax
	ret
finish first_jecxz

begin first_loop			/* rcx reduced to 1..8, counted down by a covered loop */
	andl	$7, %ecx
	incl	%ecx
	xorl	%eax, %eax
1:	addl	$3, %eax
	loop	1b
	ret
finish first_loop

begin loop_in_the_first_bytes
	movb	$5, %cl
1:	decb	%cl
	jnz	1b
	movzbl	%cl, %eax
	addl	%edi, %eax
	ret
finish loop_in_the_first_bytes

begin loop_instruction_at_entry
	loop	1f
	movl	$5, %eax
	ret
1:	movl	%ecx, %eax
	ret
finish loop_instruction_at_entry

begin loop_to_the_entry
	subq	$1, %rdi
	cmpq	$100, %rdi
	ja	1f
	jmp	loop_to_the_entry
1:	movq	%rdi, %rax
	ret
finish loop_to_the_entry

begin loop_behind_one_byte
	pushq	%rbx
	.cfi_def_cfa_offset 16
	.cfi_offset 3, -16
1:	addq	$2, %rdi
	testq	$4, %rdi
	jz	1b
	movq	%rdi, %rax
	popq	%rbx
	.cfi_def_cfa_offset 8
	ret
finish loop_behind_one_byte

begin loop_behind_two_bytes
	xorl	%eax, %eax
1:	addl	$1, %eax
	cmpl	$9, %eax
	jb	1b
	addl	%edi, %eax
	ret
finish loop_behind_two_bytes

begin short_condition
	testb	%dil, %dil
	je	1f
	movl	$1, %eax
	ret
1:	movl	$2, %eax
	ret
finish short_condition

begin long_condition
	testq	%rsi, %rsi
	js	2f
	movl	$3, %eax
	ret
	.skip	200, 0x90
2:	movl	$4, %eax
	ret
finish long_condition

begin rip_relative_load
	movl	numbers(%rip), %eax
	addl	%edi, %eax
	ret
finish rip_relative_load

begin rip_relative_with_immediate
	cmpl	$1234567, numbers(%rip)
	sete	%al
	movzbl	%al, %eax
	ret
finish rip_relative_with_immediate

begin rip_relative_jump
	jmpq	*pointer(%rip)
finish rip_relative_jump

begin rip_relative_call
	callq	*pointer(%rip)
	incq	%rax
	ret
finish rip_relative_call

begin direct_call_first
	call	answer
	addq	%rdi, %rax
	ret
finish direct_call_first

begin frame_then_call
	pushq	%rbx
	.cfi_def_cfa_offset 16
	.cfi_offset 3, -16
	call	answer
	leaq	(%rax,%rdi), %rbx
	movq	%rbx, %rax
	popq	%rbx
	.cfi_def_cfa_offset 8
	ret
finish frame_then_call

begin indirect_call_first
	leaq	answer(%rip), %rax
	call	*%rax
	subq	%rdi, %rax
	ret
finish indirect_call_first

begin call_of_two_bytes			/* returns into what a long jump would overwrite */
	call	*%r9			/* the harness passes the address of a harmless function */
	nop
	nop
	nop
	ret
finish call_of_two_bytes

begin get_own_address			/* call to the next instruction: cannot move */
	call	1f
1:	popq	%rax
	leaq	1b(%rip), %rdx
	subq	%rdx, %rax
	ret
finish get_own_address

begin own_entry_address
	leaq	own_entry_address(%rip), %rax
	leaq	own_entry_address(%rip), %rdx
	subq	%rdx, %rax
	ret
finish own_entry_address

begin after_endbr64
	endbr64
	movq	%rdi, %rax
	addq	%rsi, %rax
	ret
finish after_endbr64

begin loop_after_endbr64
	endbr64
1:	subq	$3, %rdi
	cmpq	$50, %rdi
	jbe	1b
	movq	%rdi, %rax
	ret
finish loop_after_endbr64

begin endbr64_and_little_else
	endbr64
	ret
finish endbr64_and_little_else

begin one_byte
	ret
finish one_byte

begin three_bytes
	xorl	%eax, %eax
	ret
finish three_bytes

begin tail_jump
	jmp	answer
finish tail_jump

begin short_tail_jump
	jmp	1f
1:	movl	$9, %eax
	ret
finish short_tail_jump

begin jump_over_a_prefix		/* as in the C library: skip the lock prefix */
	leaq	-8(%rsp), %rdx
	movl	%edi, (%rdx)
	testl	%esi, %esi
	je	1f
	lock
1:	incl	(%rdx)
	movl	(%rdx), %eax
	ret
finish jump_over_a_prefix

begin saves_without_pushing
	movq	%rbx, -16(%rsp)
	movq	%rbp, -8(%rsp)
	.cfi_offset 3, -24
	.cfi_offset 6, -16
	leaq	(%rdi,%rsi), %rbx
	movq	%rbx, %rax
	movq	-16(%rsp), %rbx
	movq	-8(%rsp), %rbp
	ret
finish saves_without_pushing

begin aligns_its_stack
	pushq	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset 6, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register 6
	andq	$-64, %rsp
	movq	%rdi, -64(%rsp)
	movq	-64(%rsp), %rax
	leave
	.cfi_def_cfa 7, 8
	ret
finish aligns_its_stack

begin realigns_through_r10
	leaq	8(%rsp), %r10
	.cfi_def_cfa 10, 0
	andq	$-32, %rsp
	pushq	-8(%r10)
	pushq	%rbp
	movq	%rsp, %rbp
	.cfi_escape 0x10, 6, 2, 0x76, 0
	pushq	%r10
	.cfi_escape 0x0f, 3, 0x76, 0x78, 6
	movq	%rdi, %rax
	popq	%r10
	.cfi_def_cfa 10, 0
	popq	%rbp
	leaq	-8(%r10), %rsp
	.cfi_def_cfa 7, 8
	ret
finish realigns_through_r10

begin aligns_at_once			/* cannot be described: no frame pointer yet */
	movq	%rsp, %rdx
	.cfi_def_cfa 1, 8
	andq	$-16, %rsp
	movq	%rdi, %rax
	movq	%rdx, %rsp
	.cfi_def_cfa 7, 8
	ret
finish aligns_at_once

begin longest_instruction
	pushq	%rax
	.cfi_def_cfa_offset 16
	.byte	0x2e, 0x2e, 0x66, 0x48, 0x81, 0x84, 0x24	/* addq $1, %cs:0x0(%rsp) */
	.long	0, 1
	popq	%rcx
	.cfi_def_cfa_offset 8
	movq	%rdi, %rax
	ret
finish longest_instruction

begin system_call
	movl	%edi, %edx
	movl	$39, %eax		/* getpid: the same every time */
	syscall
	subl	%eax, %eax
	xorl	%ecx, %ecx
	xorl	%r11d, %r11d
	addl	%edx, %eax
	ret
finish system_call

begin sub_and_call
	subq	$8, %rsp
	.cfi_def_cfa_offset 16
	call	answer
	addq	$8, %rsp
	.cfi_def_cfa_offset 8
	ret
finish sub_and_call

begin flags_then_branch
	cmpq	%rsi, %rdi
	jl	1f
	jg	2f
	xorl	%eax, %eax
	ret
1:	movq	$-1, %rax
	ret
2:	movl	$1, %eax
	ret
finish flags_then_branch

	.type	answer, @function
answer:
	.cfi_startproc
	movl	$42, %eax
	ret
	.cfi_endproc
	.size	answer, . - answer

	.section .rodata.numbers, "a"
	.p2align 2
numbers:
	.long	1234567

	.section .data.rel.local, "aw"
	.p2align 3
pointer:
	.quad	answer

	.section .note.GNU-stack, "", @progbits
