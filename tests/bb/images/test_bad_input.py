# SPDX-License-Identifier: MIT OR Apache-2.0
"""What blockpull must refuse: broken, forbidden and unsupported images.

Each refusal has its exit code and one sentence that names the file, and leaves every byte as it
was: nothing is written before everything is known to be fit. The images are made by qemu-img and
then bent; only offsets that the format's specification gives for the header are patched.
"""
import os
import random
import struct
import time

import harness
import images
from harness import CORRUPT, DONE, FAILED, KIB, MIB, REFUSED, bp, case, check, note, refused, same
from images import Untouched, image_info, overlay, pair, patch, pulled, qemu_img, qemu_io, raw_image, refused_unchanged


# ---- Files that are no images -------------------------------------------------------------------

@case('a missing file is named')
def missing(d):
    refused(FAILED, ['gone.qcow2', ('no such', 'not exist', 'not found')], 'pull', f'{d}/gone.qcow2')


@case('a directory is no image')
def directory_named(d):
    os.mkdir(f'{d}/folder')
    refused(FAILED, ['folder', ('directory', 'regular file')], 'pull', f'{d}/folder')


@case('an empty file, a text, a file of zeros')
def no_image(d):
    for name, content in ('empty.img', b''), ('text.img', b'hello world\n' * 999), ('zero.img', bytes(MIB)):
        with open(f'{d}/{name}', 'wb') as file:
            file.write(content)
        before = Untouched(f'{d}/{name}')
        refused((FAILED, CORRUPT, REFUSED), [name], 'pull', f'{d}/{name}')
        before.verify()


@case('a qcow2 header that is cut off is refused', 'qcow2', (20, 71, 100))
@case('a QED header that is cut off is refused', 'qed', (20, 63))
def truncated(d, fmt, lengths):
    for length in lengths:
        top, base = pair(d, fmt)
        os.truncate(top, length)
        refused_unchanged(CORRUPT, ['top.img'], top, base)


@case('a FIFO as the image and as a backing file')
def fifo(d):
    os.mkfifo(f'{d}/pipe')
    for command in 'pull', 'info', 'map', 'check':
        refused((FAILED, REFUSED), ['pipe'], command, f'{d}/pipe', timeout=10)
    top, base = pair(d)
    os.unlink(base)
    os.mkfifo(base)
    refused((FAILED, REFUSED), ['base.img'], 'pull', top, timeout=10)


@case('a character device as a backing file')
def device(d):
    top, base = pair(d)
    qemu_img('rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', '/dev/zero', top)
    refused_unchanged((FAILED, REFUSED), ['/dev/zero'], top, base, '--allow-backing=any')


@case('names with control characters are escaped')
def control_characters(d):
    name = 'a\x1b[31m\nb'
    result = bp('pull', f'{d}/{name}', rc=FAILED)
    check('\x1b' not in result.err and 'a' in result.err, f'a raw escape character: {result.err!r}')
    check(len(result.err.strip().splitlines()) == 1, f'a raw newline: {result.err!r}')
    top, base = pair(d)
    qemu_img('rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', name, top)
    for command in 'pull', 'info', 'map':
        result = bp(command, top, rc=None)
        check('\x1b' not in result.err + result.out, f'a raw escape character: {result}')


# ---- Features -----------------------------------------------------------------------------------

@case('internal snapshots of a backing file are no hindrance')
def backing_snapshots(d):
    top, base = pair(d, base_fmt='qcow2')
    qemu_img('snapshot', '-c', 'before', base)
    before = Untouched(base)
    pulled(top, 'qcow2')
    before.verify()


@case('an encrypted image is refused by name')
def encryption(d):
    base = raw_image(f'{d}/base.img', MIB)
    top = f'{d}/top.img'
    # AES, for which QEMU stretches no key: it can't measure how long that takes on a busy machine.
    qemu_img('create', '-q', '--object', 'secret,id=s,data=abc', '-f', 'qcow2', '-b', 'base.img', '-F', 'raw', '-o',
             'encrypt.format=aes,encrypt.key-secret=s', top)
    refused_unchanged(REFUSED, ['top.img', 'encrypt'], top, base)
    os.rename(top, f'{d}/middle.img')
    overlay(top, f'{d}/middle.img', base_fmt='qcow2', size=MIB)
    refused_unchanged(REFUSED, ['middle.img', 'encrypt'], top, f'{d}/middle.img')


@case('encryption of an overlay, AES', 1, 0)
@case('encryption of a middle layer, AES', 1, 1)
@case('encryption of a base, AES', 1, 2)
@case('encryption of an overlay, LUKS', 2, 0)
@case('encryption of a middle layer, LUKS', 2, 1)
@case('encryption of a base, LUKS', 2, 2)
def encrypted_layer(d, method, depth):
    """By patching the header's method, so that no key and no clock is needed."""
    chain = [f'{d}/{name}.img' for name in ('top', 'middle', 'base')]
    qemu_img('create', '-q', '-f', 'qcow2', chain[2], '1M')
    qemu_io(chain[2], 'qcow2', 'write -P 1 0 64k')
    overlay(chain[1], 'base.img', base_fmt='qcow2')
    overlay(chain[0], 'middle.img', base_fmt='qcow2')
    patch(chain[depth], 32, method.to_bytes(4, 'big'))
    if method == 2:
        images.add_luks_extension(chain[depth])
    name = os.path.basename(chain[depth])
    refused_unchanged(REFUSED, [name, 'encrypt', ('AES', 'LUKS')[method - 1]], chain[0], chain[depth])
    info = harness.bp('info', '--chain', chain[0])
    check('encrypt' in info.out.lower(), str(info))
    harness.refused(REFUSED, [name, 'encrypt'], 'measure', chain[0])


@case('an image that is marked corrupt is refused')
def corrupt_bit(d):
    top, base = pair(d)
    patch(top, 79, b'\x02')
    refused_unchanged(CORRUPT, ['top.img', 'corrupt'], top, base)


@case('the corrupt bit of a backing file: its bytes, or a refusal')
def corrupt_backing(d):
    top, base = pair(d, base_fmt='qcow2')
    patch(base, 79, b'\x02')  # QEMU reads such an image, and no more
    before, flat = Untouched(base), images.flatten(top, 'qcow2', f'{d}/flat')
    if bp('pull', top, rc=(DONE, CORRUPT)).rc == DONE:
        images.judge_pulled(top, 'qcow2', flat)
    before.verify()


@case('unknown incompatible features of qcow2 and QED')
def unknown_features(d):
    top, base = pair(d)
    patch(top, 72, b'\x40')
    refused_unchanged(REFUSED, ['top.img', 'feature'], top, base)
    os.unlink(top)
    top, base = pair(d, 'qed')
    patch(top, 16 + 3, b'\x40')
    refused_unchanged(REFUSED, ['top.img', 'feature'], top, base)


@case('a qcow2 version to come')
def version_4(d):
    top, base = pair(d)
    patch(top, 4, struct.pack('>I', 4))
    refused_unchanged(REFUSED, ['top.img', 'version'], top, base)


@case('unknown compatible bits survive, unknown autoclear bits are cleared')
def harmless_bits(d):
    for fmt, compatible, autoclear in ('qcow2', 80, 88), ('qed', 24 + 7, 32 + 7):
        top, _ = pair(d, fmt)
        patch(top, compatible, b'\x20')
        patch(top, autoclear, b'\x20')
        bp('pull', top)
        with open(top, 'rb') as file:
            header = file.read(104)
        check(header[compatible] == 0x20, f'{fmt}: an unknown compatible bit got lost')
        check(header[autoclear] == 0, f'{fmt}: an unknown autoclear bit was kept')
        os.unlink(top)


@case('an unknown header extension survives')
def extension(d):
    top, _ = pair(d)
    with open(top, 'rb') as file:
        header = file.read(4096)
    at = header.index(struct.pack('>I', 0x6803F857))  # the feature name table; any other number is unknown
    patch(top, at, struct.pack('>I', 0x12345678))
    pulled(top, 'qcow2')
    with open(top, 'rb') as file:
        check(struct.pack('>I', 0x12345678) in file.read(4096), 'the unknown extension got lost')


@case('bitmaps survive: what the guest sees has not changed')
def bitmaps(d):
    top, _ = pair(d)
    qemu_img('bitmap', '--add', top, 'backup')
    qemu_io(top, 'qcow2', 'write -P 3 64k 64k')
    before = image_info(top)['format-specific']['data']['bitmaps']
    check(before, 'qemu-img recorded no bitmap')
    pulled(top, 'qcow2')
    same(image_info(top)['format-specific']['data'].get('bitmaps'), before, 'bitmaps')
    bp('check', top)


@case('random damage to headers and tables: no crash, no hang, no memory')
def mutations(d):
    seed = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
    note(f'BB_SEED={seed}')
    rng = random.Random(seed)
    makers = [('qcow2', None), ('qcow2', 'cluster_size=512'), ('qcow2', 'compat=0.10'), ('qed', None)]
    for index, (fmt, options) in enumerate(makers):
        os.makedirs(f'{d}/{index}')
        top, base = pair(f'{d}/{index}', fmt, options)
        with open(top, 'rb') as file:
            pristine = file.read()
        before = Untouched(base)
        used = [i for i in range(0, len(pristine), 8) if pristine[i:i + 8].strip(b'\0')]
        tables = [i for i in used if pristine[i:i + 8].strip(b'\0\7')]
        for _ in range(int(os.environ.get('BB_MUTATIONS', '25'))):
            image = bytearray(pristine)
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(4, 104) if rng.random() < 0.5 else rng.choice(tables) + rng.randrange(8)
                image[at] = rng.choice([0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)])
            if rng.random() < 0.1:
                del image[rng.randrange(len(image)):]
            for command in ['info'], ['info', '--chain', '--json'], ['map'], ['check'], ['pull', '--progress=none']:
                with open(top, 'wb') as file:
                    file.write(image)
                result = bp(*command, top, rc=None, timeout=20)
                check(result.max_rss < 128 * MIB, f'{result.max_rss >> 20} MiB of memory: {result}')
                if command[0] == 'pull' and result.rc not in (DONE,):
                    check(len(result.err.strip().splitlines()) in (1, 2), f'not a sentence: {result}')
            before.verify()
            os.truncate(top, 0)


if __name__ == '__main__':
    harness.main()
