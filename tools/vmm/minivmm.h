/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the guest and the machine of minivmm.c agree on: addresses, ports
 * and the disk's slots. Included by C and by the assembler.
 */
#ifndef TOOLS_VMM_MINIVMM_H
#define TOOLS_VMM_MINIVMM_H

/* Guest-physical. The stack grows down from the boot block. */
#define GUEST_BOOT      0x0800 /* u32: chunks the disk has */
#define GUEST_SLOTS     0x0900
#define GUEST_CODE      0x1000
#define GUEST_STAMP     0x3000
#define GUEST_BUFFERS   0x10000 /* one chunk for each slot */
#define GUEST_RAM_BYTES 0x20000

#define CHUNK_BYTES  8192
#define SECTOR_BYTES 512
#define N_SLOTS      8
#define SLOT_BYTES   16

/* struct slot, for the assembler. */
#define SLOT_STATE  0
#define SLOT_OP     1
#define SLOT_BUF    4
#define SLOT_LEN    8
#define SLOT_SECTOR 12

#define STATE_FREE   0
#define STATE_ASKED  1 /* by the guest, who then rings */
#define STATE_DONE   2 /* by the machine */
#define STATE_FAILED 3

#define OP_READ  0
#define OP_WRITE 1
#define OP_FLUSH 2

#define PORT_DOORBELL  0x50 /* any byte: look at the slots */
#define PORT_REPORT    0x51 /* u32: a checksum to be shown */
#define PORT_POWER_OFF 0x52 /* 0: all is well */
#define PORT_CONSOLE   0xe9

/* Every STAMP_EVERYth chunk gets its number written STAMP_BYTES long, from STAMP_AT on. */
#define STAMP_EVERY 16
#define STAMP_FIRST 5
#define STAMP_AT    2048
#define STAMP_BYTES 4096

#endif
