# SPDX-License-Identifier: MIT OR Apache-2.0
"""Recorded names that are no plain paths, beside what QEMU's tools make of them; and directories that
are allowed and not there."""
import os

import harness
import images
from harness import DONE, FAILED, MIB, REFUSED, bp, case, check, refused, same
from images import overlay, qemu_img, raw_image

NAMES = ('base', './base', '../d/base', '/abs/base', 'x/a:b', './a:b', '/a:b', 'file:base', 'file:/abs/base', 'file:///abs', 'file:',
         'nbd://localhost/x', 'nbd:localhost:10809', 'nbd+unix:///x?socket=/y', 'json:{"driver":"null-co"}',
         'json:{"driver":"raw","file":{"driver":"file","filename":"base"}}', 'C:\\x', 'C:/x', 'c:x', ':x', 'host_device:/dev/x', '\\x')


def image_named(path, name):
    qemu_img('create', '-q', '-u', '-f', 'qcow2', '-b', name, '-F', 'raw', path, MIB)
    return path


@case("full-backing-filename is qemu-img's, for names of every kind")
def full_names(d):
    os.mkdir(f'{d}/sub')
    for name in NAMES:
        for where, image in (d, 'sub/image'), (f'{d}/sub', 'image'), (f'{d}/sub', './image'), (d, f'{d}/sub/image'):
            image_named(f'{d}/sub/image', name)
            want = harness.run('qemu-img', 'info', '--output=json', image, cwd=where).json()
            got = bp('info', '--json', image, cwd=where).json()
            for key in 'backing-filename', 'full-backing-filename':
                same(got.get(key), want.get(key), f'{key} of {name!r} in {image}')


@case('a drive letter is no protocol, and leads to no file')
def drive_letter(d):
    for name in 'C:\\x', 'c:x', 'Z:/x', 'C:':
        raw_image(f'{d}/{name}' if '/' not in name else f'{d}/x', MIB)
        image = image_named(f'{d}/image', name)
        result = refused(REFUSED, ['drive letter', name, './NAME'], 'pull', image)
        check('protocol' not in result.err, str(result))
        check(harness.run('qemu-io', '-r', '-c', 'read 0 512', image).rc, 'QEMU opens it')
    for name in '1:x', 'ab:x', ':x', 'Ä:x':
        refused(REFUSED, ['protocols'], 'pull', image_named(f'{d}/image', name))
    for name in './C:\\x', f'{d}/C:\\x':
        bp('pull', '-q', image_named(f'{d}/image', name))


@case('file:NAME leads from where the command runs, as in QEMU')
def relative_file(d):
    os.mkdir(f'{d}/sub')
    raw_image(f'{d}/base', MIB, (0, 4096))
    raw_image(f'{d}/sub/base', MIB, (8192, 4096))
    for where, name, args in ((d, 'file:sub/base', []), (f'{d}/sub', 'file:base', []), (d, 'file:base', [f'--allow-backing={d}']),
                              (f'{d}/sub', 'file:../sub/base', []), (d, f'file:{d}/sub/base', [])):
        image = image_named(f'{d}/sub/image', name)
        harness.run('qemu-img', 'convert', '-O', 'raw', image, f'{d}/flat', cwd=where)
        bp('verify', *args, image, f'{d}/flat', cwd=where)
        bp('pull', '-q', *args, image, cwd=where)
        images.compare_flat(image, 'qcow2', f'{d}/flat')
    image = image_named(f'{d}/sub/image', 'file:base')
    refused(REFUSED, ['--allow-backing'], 'pull', image, cwd=d)
    refused(FAILED, ['does not exist', "'file:'", 'directory the command runs in'], 'pull', image, cwd='/')
    image = image_named(f'{d}/sub/image', 'file:a:b')
    raw_image(f'{d}/sub/a:b', MIB)
    bp('pull', '-q', image, cwd=f'{d}/sub')


@case('an allowed directory that does not exist allows nothing, and is told of once')
def no_such_directory(d):
    os.mkdir(f'{d}/bases')
    os.mkdir(f'{d}/images')
    raw_image(f'{d}/bases/base', MIB)
    gone = f'{d}/gone'
    for verb in ['info', '--chain'], ['map'], ['hash'], ['measure'], ['pull', '-n'], ['pull', '-q']:
        image = overlay(f'{d}/images/image', '../bases/base')
        result = bp(*verb, f'--allow-backing={gone}', f'--allow-backing={d}/bases', image)
        same(result.err.count(gone), 1, f'warnings: {result}')
        check('does not exist' in result.err, str(result))
        image = overlay(f'{d}/images/other', '../bases/base')
        bp(*verb, f'--allow-backing={gone}', image, rc=REFUSED)
        result = bp(*verb, image, env=harness.environment(BLOCKPULL_ALLOW_BACKING=f'{gone}:{d}/bases'))
        same(result.err.count(gone), 1, f'warnings: {result}')
    # A file is no directory.
    overlay(f'{d}/images/image', '../bases/base')
    bp('pull', '-q', f'--allow-backing={d}/bases/base/x', f'{d}/images/image', rc=REFUSED)


if __name__ == '__main__':
    harness.main(workers=2)
