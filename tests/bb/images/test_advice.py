# SPDX-License-Identifier: MIT OR Apache-2.0
"""The library says what is wrong, the command how its options help: in the sentence and in JSON.

An option is named only where the command has it.
"""
import fcntl
import struct

import harness
import images
from harness import LOCKED, MIB, REFUSED, bp, case, check
from images import overlay, patch, qemu_img, raw_image


def said(command, *words, but=()):
    for word in words:
        check(word in command.err, f'{word} is not advised: {command}')
    for word in but:
        check(word not in command.err, f'{word} is advised: {command}')


def chain(d):
    raw_image(f'{d}/base.img', 4 * MIB)
    return overlay(f'{d}/top.img', 'base.img')


@case('a backing file elsewhere: the option that would allow it is named')
def elsewhere(d):
    raw_image(f'{d}/base.img', MIB)
    harness.run('mkdir', f'{d}/in')
    top = overlay(f'{d}/in/top.img', '../base.img')
    for command in ['pull'], ['info', '--chain'], ['map']:
        result = bp(*command, top, rc=REFUSED)
        said(result, f'allow it with --allow-backing={d} or --allow-backing=any')
    line = bp('pull', '--json', top, rc=REFUSED).out.splitlines()[-1]
    check(f'--allow-backing={d} or' in line, line)
    bp('map', f'--allow-backing={d}', top)


@case('an image in use: only where it may be looked at')
def in_use(d):
    top = chain(d)
    with open(f'{d}/base.img', 'r+b') as held:
        # QEMU's byte for "I write": 100 + 1, which an open file description holds.
        lock = struct.pack('hhqqi', fcntl.F_RDLCK, 0, 101, 1, 0)
        fcntl.fcntl(held, 37, lock)  # F_OFD_SETLK
        for command in 'info --chain', 'map', 'measure', 'hash':
            said(bp(*command.split(), top, rc=LOCKED), '--force-share')
        said(bp('pull', top, rc=LOCKED), 'in use', but=['--force-share'])
        said(bp('flatten', top, f'{d}/new', rc=LOCKED), 'in use', but=['--force-share'])
        bp('map', '--force-share', top)


@case('a format that is not recorded')
def no_format(d):
    top = chain(d)
    header = open(top, 'rb').read(4096)
    patch(top, header.index(struct.pack('>II', 0xE2792ACA, 3)), struct.pack('>I', 0x12345678))
    said(bp('pull', top, rc=REFUSED), '--backing-format=FMT')


@case('an image marked corrupt: the command that mends it is named')
def corrupt(d):
    top = chain(d)
    patch(top, 79, b'\x02')
    said(bp('pull', top, rc=harness.CORRUPT), 'blockpull check --repair=all')
    info = bp('info', '--json', top).out
    check('--repair=all' in info, info)


@case('a base that is none, and compression of another type')
def base_and_type(d):
    top = chain(d)
    said(bp('pull', f'--base={d}/none', top, rc=harness.FAILED), 'blockpull info --chain')
    said(bp('measure', f'--base={d}/none', top, rc=harness.FAILED), 'blockpull info --chain')
    old = f'{d}/old.img'
    qemu_img('create', '-f', 'qcow2', '-o', 'compat=0.10', '-b', 'base.img', '-F', 'raw', old)
    said(bp('pull', '--compress=zstd', old, rc=REFUSED), '--compress=zlib')


harness.main()
