/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest of tools/vmm/minivmm.c: sums its disk, writes on it, flushes, sums
 * again. Real mode, so that it needs no tables to be set up; a kernel instead
 * would make an example of loading kernels.
 *
 * Reads go through all slots in turn, so that several are in flight. Who waits
 * for the disk halts, and is woken by whatever request is over.
 */
#include "tools/vmm/minivmm.h"

	.intel_syntax noprefix
	.code16
	.section .rodata
	.globl minivmm_guest, minivmm_guest_end
	.hidden minivmm_guest, minivmm_guest_end
minivmm_guest:
	xor ax, ax
	mov ds, ax
	mov ss, ax
	mov sp, GUEST_BOOT
	mov si, offset hello - minivmm_guest + GUEST_CODE
	call print
	call sum_disk
	out PORT_REPORT, eax
	call stamp_disk
	call flush
	mov si, offset stamped - minivmm_guest + GUEST_CODE
	call print
	call sum_disk
	out PORT_REPORT, eax
	xor al, al
	out PORT_POWER_OFF, al

/* si: text that ends with a zero. */
print:
	lodsb
	test al, al
	jz 1f
	out PORT_CONSOLE, al
	jmp print
1:	ret

/* eax: a number whose low bits choose a slot. Returns it in di, and its number in eax. */
slot_of:
	and eax, N_SLOTS - 1
	mov di, ax
	shl di, 4
	add di, GUEST_SLOTS
	ret

/* di: a slot, filled but for its state. */
ring:
	mov byte ptr [di + SLOT_STATE], STATE_ASKED
	out PORT_DOORBELL, al
	ret

/* di: a slot that was asked for. */
wait_for:
	mov al, [di + SLOT_STATE]
	cmp al, STATE_DONE
	je 1f
	cmp al, STATE_FAILED
	je fail
	hlt
	jmp wait_for
1:	mov byte ptr [di + SLOT_STATE], STATE_FREE
	ret

fail:
	mov si, offset failed - minivmm_guest + GUEST_CODE
	call print
	mov al, 1
	out PORT_POWER_OFF, al

/* ebx: chunk to ask for, into the buffer of its slot. */
ask_for:
	mov eax, ebx
	call slot_of
	shl eax, 13 /* CHUNK_BYTES */
	add eax, GUEST_BUFFERS
	mov [di + SLOT_BUF], eax
	mov eax, ebx
	shl eax, 4 /* sectors a chunk */
	mov [di + SLOT_SECTOR], eax
	mov dword ptr [di + SLOT_LEN], CHUNK_BYTES
	mov byte ptr [di + SLOT_OP], OP_READ
	jmp ring

/* Returns in eax the sum of the disk: turned left by one, plus the next u32, for all of it.
 * ebx: chunks asked for, ebp: chunks summed, edx: the sum. */
sum_disk:
	xor ebx, ebx
	xor ebp, ebp
	xor edx, edx
ask_more:
	cmp ebx, [GUEST_BOOT]
	jae sum_next
	mov eax, ebx
	sub eax, ebp
	cmp eax, N_SLOTS
	jae sum_next
	call ask_for
	inc ebx
	jmp ask_more
sum_next:
	cmp ebp, ebx
	je sum_over
	mov eax, ebp
	call slot_of
	shl ax, 9 /* paragraphs a chunk */
	add ax, GUEST_BUFFERS >> 4
	mov es, ax
	call wait_for
	xor si, si
	mov cx, CHUNK_BYTES / 4
1:	rol edx, 1
	add edx, es:[si]
	add si, 4
	loop 1b
	inc ebp
	jmp ask_more
sum_over:
	mov eax, edx
	ret

/* ebx: the chunk that gets its number written on it. */
stamp_disk:
	mov ebx, STAMP_FIRST
1:	cmp ebx, [GUEST_BOOT]
	jae 2f
	xor ax, ax
	mov es, ax
	mov eax, ebx
	mov di, GUEST_STAMP
	mov cx, STAMP_BYTES / 4
	rep stosd
	mov di, GUEST_SLOTS
	mov dword ptr [di + SLOT_BUF], GUEST_STAMP
	mov dword ptr [di + SLOT_LEN], STAMP_BYTES
	shl eax, 4
	add eax, STAMP_AT / SECTOR_BYTES
	mov [di + SLOT_SECTOR], eax
	mov byte ptr [di + SLOT_OP], OP_WRITE
	call ring
	call wait_for
	add ebx, STAMP_EVERY
	jmp 1b
2:	ret

flush:
	mov di, GUEST_SLOTS
	mov byte ptr [di + SLOT_OP], OP_FLUSH
	call ring
	jmp wait_for

hello:
	.asciz "guest: hello; summing the disk\n"
stamped:
	.asciz "guest: written and flushed; summing again\n"
failed:
	.asciz "guest: the disk failed\n"
minivmm_guest_end:

	.section .note.GNU-stack, "", @progbits
