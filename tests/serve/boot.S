/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A boot sector: the firmware's driver is the guest. It reads each sector of a row, and writes its
 * number into the last bytes of a copy in a second row; the serial port tells "BOOTED", a dot a
 * sector, "DONE" or "FAILED". Port 0xf4 ends QEMU.
 *
 *	as --32 boot.S -o boot.o; ld -m elf_i386 -Ttext 0x7c00 --oformat binary boot.o
 */
	.code16
	.globl	_start
	.set	FROM, 64	/* first sector of the row that is read */
	.set	TO, 1024	/* of the one that is written */
	.set	COUNT, 200

_start:	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$0x7c00, %sp
	movb	%dl, drive
	sti
	movw	$booted, %si
	call	say
	movw	$0, index
1:	movw	$FROM, %bx
	movb	$0x42, %dh		/* extended read */
	call	move
	jc	fail
	movw	index, %ax
	movw	%ax, 0x8000+508
	movw	$TO, %bx
	movb	$0x43, %dh		/* extended write */
	call	move
	jc	fail
	movb	$'.', %al
	call	put
	movb	$0x86, %ah		/* a hundredth of a second */
	xorw	%cx, %cx
	movw	$10000, %dx
	int	$0x15
	incw	index
	cmpw	$COUNT, index
	jb	1b
	movw	$done, %si
	call	say
	jmp	end
fail:	movw	$failed, %si
	call	say
end:	movw	$0xf4, %dx
	movb	$0x10, %al
	outb	%al, %dx
2:	hlt
	jmp	2b

/* One sector, row %bx, by the call %dh of the firmware. */
move:	movw	index, %ax
	addw	%bx, %ax
	movw	%ax, packet_lba
	movb	%dh, %ah
	movb	$0, %al
	movb	drive, %dl
	movw	$packet, %si
	int	$0x13
	ret

say:	lodsb
	testb	%al, %al
	jz	3f
	call	put
	jmp	say
3:	ret

put:	movb	%al, %ah
	movw	$0x3fd, %dx
4:	inb	%dx, %al
	testb	$0x20, %al
	jz	4b
	movb	%ah, %al
	movw	$0x3f8, %dx
	outb	%al, %dx
	ret

booted:	.asciz	"BOOTED\r\n"
done:	.asciz	"\r\nDONE\r\n"
failed:	.asciz	"\r\nFAILED\r\n"
	.balign	4
packet:	.byte	16, 0
	.word	1
	.word	0x8000, 0	/* where to, or from */
packet_lba:
	.word	0, 0, 0, 0
drive:	.byte	0
	.balign	2
index:	.word	0
	.org	510
	.word	0xaa55
