# SPDX-License-Identifier: MIT OR Apache-2.0
"""Names as weapons: what an image may say about other files, and what comes of it.

The usual names of a chain are test_backing.py's. Here are those that an attacker chose, for backing
files and data files alike: they end in a sentence, at once, with every file as it was, and never reach a
terminal raw. Then files that are swapped while they are being opened.
"""
import json
import os
import socket
import stat
import struct
import threading

import harness
import images
import strace
from harness import CORRUPT, FAILED, KIB, MIB, REFUSED, bp, case, check, same
from images import Untouched, overlay, patch, qemu_img, raw_image

VERBS = (['pull'], ['info', '--chain'], ['map'], ['measure'], ['flatten'], ['pull', '-n'])
SWAPS = int(os.environ.get('BB_SWAPS', '400'))
EVIL = b'a\x1b[31m\nb\x07\x7f\xc2\x9b2J\xff'


def named(d, name, field='backing', fmt='qcow2'):
    """An image with a name of any bytes in its header."""
    raw_image(f'{d}/base.img', MIB)
    if field == 'backing':
        top = overlay(f'{d}/top.img', 'base.img', fmt, size=MIB)
        where = '>QI' if fmt == 'qcow2' else '<II'
        at = 8 if fmt == 'qcow2' else 56
        with open(top, 'rb') as file:
            header = file.read(128)
        offset = struct.unpack_from(where, header, at)[0]
        patch(top, offset, name + b'\0')
        patch(top, at + struct.calcsize(where) - 4, struct.pack(where[0] + 'I', len(name)))
        return top
    top = f'{d}/top.img'
    qemu_img('create', '-q', '-f', 'qcow2', '-o', f'data_file={d}/data.img', top, '1M')
    with open(top, 'rb') as file:
        header = file.read(4096)
    at = header.index(struct.pack('>I', 0x44415441))
    rest = header[at + 8 + -(-struct.unpack_from('>I', header, at + 4)[0] // 8) * 8:]
    field = struct.pack('>II', 0x44415441, len(name)) + name + b'\0' * (-len(name) % 8)
    patch(top, at, (field + rest)[:4096 - at])
    return top


def safe(result):
    """Nothing that a terminal obeys, on either stream; and no end by a signal."""
    check(result.rc < 128 and result.rc != 99, f'it died: {result}')
    for stream in result.out, result.err:
        bad = [c for c in stream if (ord(c) < 32 and c not in '\n\t') or 127 <= ord(c) < 160]
        check(not bad, f'raw control characters {bad}: {result}')


def all_refuse(d, top, *args, codes=(FAILED, CORRUPT, REFUSED)):
    before = Untouched(*(f'{d}/{n}' for n in os.listdir(d) if stat.S_ISREG(os.lstat(f'{d}/{n}').st_mode)))
    for verb in VERBS:
        if verb[0] in ('info', 'measure') and os.path.exists(f'{d}/data.img'):
            continue  # tells the data file's name and does not open it
        out = [f'{d}/out.img'] if verb[0] == 'flatten' else []
        result = bp(*verb, *args, top, *out, rc=codes, timeout=10)
        safe(result)
        same(len(result.err.strip().splitlines()) <= 2, True, f'one sentence: {result}')
        check(not os.path.exists(f'{d}/out.img'), 'flatten left a file')
    before.verify('although refused')


@case('a backing name with escape sequences is never printed raw', 'backing', 'qcow2')
@case('a backing name with escape sequences is never printed raw, QED', 'backing', 'qed')
@case('a data file\'s name with escape sequences is never printed raw', 'data', 'qcow2')
def escape_sequences(d, field, fmt):
    top = named(d, EVIL, field, fmt)
    all_refuse(d, top)
    for args in ['info', '--json'], ['info'], ['check', '--json'], ['check']:
        result = bp(*args, top, rc=(0, FAILED, REFUSED))
        safe(result)
        if '--json' in args and result.rc == 0:
            json.loads(result.out)


@case('an image whose own name is one: each line that names it, and JSON')
def own_name(d):
    raw_image(f'{d}/base.img', MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    evil = os.path.join(d, os.fsdecode(EVIL))
    os.rename(top, evil)
    for args in (['info', '--chain', '--json'], ['check', '--json'], ['measure', '--json'], ['map', '--json'], ['hash', '--json'],
                 ['verify', '--json', evil]):
        result = bp(*args, evil)
        safe(result)
        json.loads(result.out)
    for args in ['info', '--chain'], ['check'], ['measure'], ['map'], ['hash'], ['pull', '-n'], ['pull', '--progress=plain']:
        safe(bp(*args, evil))
    result = bp('flatten', '--progress=json', evil, evil + '2')
    safe(result)
    check(result.lines(), 'no JSON')
    safe(bp('flatten', evil, evil + '2', rc=FAILED))


@case('a long name of an image is printed whole')
def long_name(d):
    image = raw_image(d + '/.' * 1900 + '/long.img', 64 * KIB)
    check(bp('hash', image).out.endswith(f'  {image}\n'), 'hash')
    check(bp('hash', '--json', image).json()['filename'] == image, 'hash --json')
    check(bp('info', image).out.startswith(f'image: {image}\n'), 'info')


@case('a name that holds a NUL is not cut to another one', 'backing', 'qcow2')
@case('a name that holds a NUL is not cut to another one, QED', 'backing', 'qed')
@case('a name that holds a NUL is not cut to another one, data file', 'data', 'qcow2')
def nul(d, field, fmt):
    top = named(d, b'base.img\0.evil', field, fmt)
    all_refuse(d, top)


def unusual(d):
    """Names in the image's own directory that are no image: what they are, and whether it exists."""
    os.mkfifo(f'{d}/fifo')
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f'{d}/socket')
    os.symlink('nothing', f'{d}/dangling')
    os.symlink('circle', f'{d}/circle')
    os.symlink('/dev/zero', f'{d}/device')
    os.symlink('fifo', f'{d}/to-fifo')
    os.mkdir(f'{d}/directory')
    return ('fifo', 'socket', 'dangling', 'circle', 'device', 'to-fifo', 'directory', '.', '..', '/', 'base.img/', 'base.img/x',
            '/dev/stdin', '/dev/fd/0', '/proc/self/fd/0', '/proc/self/mem', '/proc/self/exe/', '/dev/tty', '/dev/null',
            'x' * 300, 'y/' * 400)


@case('names that lead to no image', 'backing')
@case('names that lead to no image, data file', 'data')
def no_image(d, field):
    for name in unusual(d):
        for args in [], ['--allow-backing=any']:
            all_refuse(d, named(d, name.encode(), field), *args)


@case('/proc/self/fd and /dev/fd do not lead around the policy', 'backing')
@case('/proc/self/fd and /dev/fd do not lead around the policy, data file', 'data')
def descriptors(d, field):
    os.mkdir(f'{d}/mine')
    secret = raw_image(f'{d}/secret.img', MIB)
    for name in '/proc/self/fd/%d', '/dev/fd/%d', '/proc/thread-self/fd/%d', '../../../../../../proc/self/fd/%d':
        with open(secret, 'rb') as file:
            top = named(f'{d}/mine', (name % file.fileno()).encode(), field)
            for verb in ['flatten', f'{d}/out.img'], ['map']:
                result = bp(verb[0], top, *verb[1:], rc=(FAILED, REFUSED), pass_fds=(file.fileno(),))
                safe(result)


@case('names out of the tree, protocols and json: as a data file')
def data_out_of_tree(d):
    os.mkdir(f'{d}/mine')
    secret = raw_image(f'{d}/secret.img', MIB)
    os.symlink(secret, f'{d}/mine/link')
    os.symlink('..', f'{d}/mine/up')
    for name in secret, '../secret.img', 'link', 'up/secret.img', '/etc/passwd', './../secret.img':
        all_refuse(f'{d}/mine', named(f'{d}/mine', name.encode(), 'data'), codes=(FAILED, REFUSED))
    for name in 'nbd://localhost/x', 'fat:rw:.', 'json:{"driver":"null-co"}', 'ssh:x', 'https://x/y', 'blkdebug::base.img':
        all_refuse(f'{d}/mine', named(f'{d}/mine', name.encode(), 'data'), '--allow-backing=any', codes=(FAILED, REFUSED))


@case('an image that is its own backing file by another name')
def circles(d):
    for number, name in enumerate(('hard.img', 'soft.img', f'{d}/./top.img', f'../{os.path.basename(d)}/top.img')):
        top = named(d, name.encode())
        patch(top, 32 + 40, b'')
        qemu_img('rebase', '-u', '-F', 'qcow2', '-b', name, top)
        if number == 0:
            os.link(top, f'{d}/hard.img')
        if number == 1:
            os.symlink('top.img', f'{d}/soft.img')
        all_refuse(d, top)
        if number == 0:
            os.unlink(f'{d}/hard.img')


@case('a data file that is the image, its backing file, or another image\'s')
def shared_data(d):
    for name in 'top.img', 'hard.img':
        top = named(d, name.encode(), 'data')
        if name == 'hard.img':
            os.link(top, f'{d}/hard.img')
        all_refuse(d, top)


SWAPPER = '''
import os, sys
d = sys.argv[1]
names = [os.path.join(d, 'made', n) for n in ('plain', 'link', 'fifo')]
number = 1
while os.path.exists(os.path.join(d, 'go-on')):
    new = os.path.join(d, 'made', 'new')
    kind = names[number % 3]
    number += 1
    if kind.endswith('link'):
        os.symlink('../secret/secret.img', new)
    else:
        os.link(kind, new)
    os.replace(new, os.path.join(d, 'mine', 'base.img'))
'''


@case('a backing file that is swapped while it is opened: many tries')
def swapped(d):
    for name in 'mine', 'made', 'secret':
        os.mkdir(f'{d}/{name}')
    raw_image(f'{d}/made/plain', MIB)
    raw_image(f'{d}/secret/secret.img', 3 * MIB)
    os.mkfifo(f'{d}/made/fifo')
    os.link(f'{d}/made/plain', f'{d}/mine/base.img')
    top = overlay(f'{d}/mine/top.img', 'base.img', size=MIB)
    with open(f'{d}/go-on', 'w', encoding='ascii'):
        pass
    swapper = harness.start('python3', '-c', SWAPPER, d)
    seen, lock = {'opened': 0, 'refused': 0}, threading.Lock()

    def tries(n):
        for _ in range(n):
            result = harness.run(harness.blockpull, 'info', '--chain', '--json', top, timeout=10)
            with lock:
                seen['opened' if result.rc == 0 else 'refused'] += 1
            if result.rc == 0:
                same(json.loads(result.out)[1]['virtual-size'], MIB, 'the file that was opened')
            else:
                check(result.rc in (FAILED, REFUSED), str(result))
    tries(SWAPS)
    os.unlink(f'{d}/go-on')
    same(harness.finish(swapper).rc, 0, 'the swapper')
    check(seen['opened'] and seen['refused'], f'nothing was tried: {seen}')
    harness.note(f'{seen}')


@case('each file is opened by its name once, without following what it was not checked for')
def opened_once(d):
    raw_image(f'{d}/base.img', MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    _, calls = strace.run(harness.blockpull, 'pull', top, trace='open,openat,openat2,creat')
    for name in 'top.img', 'base.img':
        own = [call for call in calls if f'/{name}"' in call or f'"{name}"' in call]
        same(len(own), 1, f'opens of {name} by name: {own}')
        check('O_PATH' in own[0], own[0])


if __name__ == '__main__':
    harness.main()
