# SPDX-License-Identifier: MIT OR Apache-2.0
"""Images of formats that are not supported are called by their name: not damaged, and not raw."""
import os

import harness
import images
from harness import DONE, FAILED, MIB, REFUSED, Skip, bp, case, check, refused
from images import Untouched, qemu_img, raw_image

# How qemu-img calls them, and what the sentence has to say.
MADE = ('qcow', 'version 1'), ('vmdk', 'VMDK'), ('vdi', 'VDI'), ('vhdx', 'VHDX'), ('vpc', 'VHD'), ('parallels', 'Parallels')
VERBS = ['info'], ['info', '--json'], ['map'], ['hash'], ['check'], ['pull'], ['pull', '-n'], ['measure']


def image_of(d, fmt):
    path = f'{d}/image.{fmt}'
    raw_image(f'{d}/data', MIB)
    qemu_img('convert', '-f', 'raw', '-O', fmt, f'{d}/data', path)
    return path


def refused_by_all(image, word):
    before = Untouched(image)
    for verb in VERBS:
        result = refused(REFUSED, [word, 'qemu-img convert'], *verb, image)
        check('damage' not in result.err, str(result))
    refused(REFUSED, [word], 'verify', image, image)
    refused(REFUSED, [word], 'flatten', '-f', 'raw', image, image + '.out')
    check(not os.path.exists(image + '.out'), 'flatten made a file')
    before.verify()


@case('images of other formats are named')
def named(d):
    for fmt, word in MADE:
        refused_by_all(image_of(d, fmt), word)


@case('an encrypted disk (LUKS) is named, and taken as raw where it is said to be')
def luks(d):
    for _ in range(10):  # it measures the processor, which on a busy machine it may give up
        made = qemu_img('create', '-q', '-f', 'luks', '--object', 'secret,id=s,data=x', '-o', 'key-secret=s,iter-time=10',
                        f'{d}/image', '1M', rc=(0, 1))
        if not made.rc:
            break
        check('CPU usage' in made.err, str(made))
    if made.rc:
        raise Skip(made.err.strip())
    refused_by_all(f'{d}/image', 'LUKS')
    for verb in ['info'], ['map'], ['hash']:
        bp(*verb, '-f', 'raw', f'{d}/image', rc=DONE)


@case('as a backing file: recorded as what it is')
def recorded(d):
    for fmt, word in MADE:
        image_of(d, fmt)
        top = f'{d}/top'
        qemu_img('create', '-q', '-u', '-f', 'qcow2', '-b', f'image.{fmt}', '-F', fmt, top, MIB)
        images.refused_alike(REFUSED, [f"'{fmt}'", word, 'qemu-img convert'], top)
        bp('info', top)
    for fmt in 'luks', 'dmg', 'bochs', 'nonsense':
        qemu_img('create', '-q', '-u', '-f', 'qcow2', '-b', 'data', '-F', 'raw', top, MIB)
        with open(top, 'rb') as file:
            at = file.read(4096).index(b'\xe2\x79\x2a\xca')
        images.patch(top, at + 4, len(fmt).to_bytes(4, 'big') + fmt.encode().ljust(8, b'\0'))
        images.refused_alike(REFUSED, [f"'{fmt}'"], top)


@case('as a backing file: version 1 recorded as qcow2 is no damage')
def version1(d):
    image_of(d, 'qcow')
    top = f'{d}/top'
    qemu_img('create', '-q', '-u', '-f', 'qcow2', '-b', 'image.qcow', '-F', 'qcow2', top, MIB)
    images.refused_alike(REFUSED, ['version 1'], top)
    image_of(d, 'vmdk')
    qemu_img('create', '-q', '-u', '-f', 'qcow2', '-b', 'image.vmdk', '-F', 'qcow2', top, MIB)
    images.refused_alike(FAILED, ['not a qcow2 image', 'VMDK'], top)


@case('a small image of version 1, and versions to come')
def versions(d):
    qemu_img('create', '-q', '-f', 'qcow', f'{d}/small', '512')
    with open(f'{d}/small', 'r+b') as file:
        file.truncate(48)
    refused_by_all(f'{d}/small', 'version 1')
    qemu_img('create', '-q', '-f', 'qcow2', f'{d}/next', '1M')
    images.patch(f'{d}/next', 4, b'\0\0\0\4' + bytes(64))
    refused(REFUSED, ['version 4'], 'info', f'{d}/next')


if __name__ == '__main__':
    harness.main(workers=2)
