# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the command does beside a whole pull, as its user sees it: one promise a case.

A base to stop at, flatten, measure, repair, dirty images, encryption, and names. The random
company of these is test_features.py's; a case here says which promise broke.
"""
import os
import struct

import harness
from harness import CORRUPT, FAILED, KIB, LEAKS, MIB, REFUSED, USAGE, bp, case, check, refused, same
from images import Untouched, add_luks_extension, compare_flat, flatten, image_check, image_info, overlay, patch, \
    qemu_img, qemu_io, raw_image
from judge import Before
from qcow2_reader import Reader


def three(directory, fmt='qcow2', options=None):
    """top over mid over base; mid hides some of base, top some of mid."""
    base = raw_image(os.path.join(directory, 'base.raw'), 2 * MIB)
    mid = overlay(os.path.join(directory, 'mid.qcow2'), 'base.raw')
    qemu_io(mid, 'qcow2', 'write -P 1 100k 200k', 'write -z 512k 128k')
    top = overlay(os.path.join(directory, 'top.' + fmt), 'mid.qcow2', fmt, options, 'qcow2')
    qemu_io(top, fmt, 'write -P 2 150k 10k')
    return top, mid, base


@case('--base: what is above the base is copied, the rest is not', 'qcow2', None)
@case('--base: zeros above the base, v2', 'qcow2', 'compat=0.10')
@case('--base: zeros above the base, QED', 'qed', None)
def stop_at_base(directory, fmt, options):
    top, mid, base = three(directory, fmt, options)
    before = Before(top, fmt, (mid, 'qcow2'), os.path.join(directory, 'j'))
    untouched = Untouched(mid, base)
    bp('pull', '--backing-format=qcow2', '--base', base, top)
    untouched.verify('by the pull')
    before.verify((base, 'raw'))
    same(image_info(top)['backing-filename'], 'base.raw', 'the name is relative, as it was')
    if fmt == 'qcow2':
        reader = Reader(top)
        same(reader.at(reader.active, MIB).kind, 'none', 'a cluster that the base alone holds')


@case('--base that is no file of the chain', 'other.raw', REFUSED)
@case('--base that is the image itself', 'top.qcow2', REFUSED)
@case('--base that does not exist', 'nowhere.raw', REFUSED)
def wrong_base(directory, name, rc):
    top, mid, base = three(directory)
    raw_image(os.path.join(directory, 'other.raw'), MIB)
    whole = Untouched(top, mid, base)
    refused((rc, USAGE, FAILED), [name], 'pull', '--base', os.path.join(directory, name), top)
    whole.verify('although the base is wrong')


@case('--base through a link, and by another spelling')
def base_by_another_name(directory):
    top, mid, base = three(directory)
    before = Before(top, 'qcow2', (mid, 'qcow2'), os.path.join(directory, 'j'))
    link = os.path.join(directory, 'link')
    os.symlink('base.raw', link)
    bp('pull', '--base', link, top)
    before.verify((base, 'raw'))


@case('--base: the immediate backing file leaves nothing to do')
def nearest_base(directory):
    top, mid, _ = three(directory)
    before = Before(top, 'qcow2', (mid, 'qcow2'), os.path.join(directory, 'j'))
    bp('pull', '--base', mid, top)
    before.verify((mid, 'qcow2'))


@case('an image inside a chain is pulled, and the one above reads the same')
def intermediate(directory):
    top, mid, base = three(directory)
    flat = flatten(top, 'qcow2', os.path.join(directory, 'flat'))
    untouched = Untouched(top, base)
    bp('pull', mid)
    untouched.verify('by the pull of mid')
    check('backing-filename' not in image_info(mid), 'mid still has its backing file')
    compare_flat(top, 'qcow2', flat, 'above the pulled image')


@case('flatten to raw', 'raw', [])
@case('flatten to qcow2', 'qcow2', [])
@case('flatten to qcow2, compressed', 'qcow2', ['--compress'])
@case('flatten to QED', 'qed', [])
def flatten_to(directory, fmt, options):
    top, mid, base = three(directory)
    flat = flatten(top, 'qcow2', os.path.join(directory, 'flat'))
    out = os.path.join(directory, 'out dir', 'öut.img')
    os.mkdir(os.path.dirname(out))
    whole = Untouched(top, mid, base)
    bp('flatten', *options, '-f', fmt, top, out)
    whole.verify('by flatten')
    same(os.listdir(os.path.dirname(out)), ['öut.img'], 'files made by flatten')
    info = image_info(out)
    same(info['format'] if fmt != 'raw' else 'raw', fmt, 'format of the new file')
    compare_flat(out, fmt, flat, 'in the new file')
    if fmt != 'raw':
        same(image_check(out, fmt), 0, 'qemu-img check of the new file')
    if options:
        reader = Reader(out)
        same(reader.at(reader.active, 128 * KIB).kind, 'packed', 'a cluster of one byte repeated')


@case('flatten never overwrites, and leaves nothing when it fails')
def flatten_refused(directory):
    top, mid, _ = three(directory)
    out = os.path.join(directory, 'out.raw')
    with open(out, 'wb') as file:
        file.write(b'precious')
    whole = Untouched(out, top)
    refused((REFUSED, FAILED, USAGE), ['out.raw'], 'flatten', '-f', 'raw', top, out)
    whole.verify('although flatten was refused')
    os.rename(mid, mid + '.away')
    names = set(os.listdir(directory))
    refused((REFUSED, FAILED), ['mid.qcow2'], 'flatten', '-f', 'raw', top, out + '2')
    same(set(os.listdir(directory)), names, 'files in the directory')


@case('measure: what it says is what a pull needs, within a tenth', '')
@case('measure: of an image with a snapshot', 'snapshot')
def measure(directory, how):
    top, _, _ = three(directory)
    if how:
        qemu_img('snapshot', '-c', 'one', top)
        qemu_io(top, 'qcow2', 'write -P 7 700k 10k')
    before = os.path.getsize(top)
    whole = Untouched(top)
    said = bp('measure', '--json', top).json()
    whole.verify('by measure')
    bp('pull', top)
    grown = os.path.getsize(top) - before
    numbers = {k: v for k, v in flat_numbers(said)}
    harness.note(f'grown {grown}, said {numbers}')
    near = [v for v in numbers.values() for real in (grown, before + grown) if real <= v <= real * 1.1 + 256 * KIB]
    check(near, f'no number is near the growth {grown} of {before}: {said}')


def flat_numbers(obj, prefix=''):
    for key, value in obj.items():
        if isinstance(value, dict):
            yield from flat_numbers(value, prefix + key + '.')
        elif isinstance(value, int) and not isinstance(value, bool):
            yield prefix + key, value


def leak(top):
    """One cluster more at the end, counted and not used."""
    reader = Reader(top)
    end = -(-len(reader.file) // reader.cluster)
    table = struct.unpack_from('>Q', reader.file, reader.rt_off)[0]
    patch(top, end * reader.cluster, b'\x11' * reader.cluster)
    patch(top, table + 2 * end, b'\0\1')
    same(image_check(top, 'qcow2'), 3, 'the case makes a leak')


@case('check --repair=leaks frees them and touches no content', 'leaks')
@case('check --repair=all frees leaks as well', 'all')
def repair_leaks(directory, what):
    top, mid, _ = three(directory)
    qemu_img('snapshot', '-c', 'one', top)
    leak(top)
    before = Before(top, 'qcow2', (mid, 'qcow2'), os.path.join(directory, 'j'))
    bp('check', top, rc=LEAKS)
    bp('check', f'--repair={what}', top)
    bp('check', top)
    before.verify((mid, 'qcow2'))


@case('check --repair=all: refcounts that are too low', 'low')
@case('check --repair=all: COPIED flags that lie', 'copied')
def repair_all(directory, damage):
    top, mid, _ = three(directory)
    before = Before(top, 'qcow2', (mid, 'qcow2'), os.path.join(directory, 'j'))
    reader = before.reader
    cell = reader.at(reader.active, 150 * KIB)
    if damage == 'low':
        table = struct.unpack_from('>Q', reader.file, reader.rt_off)[0]
        patch(top, table + 2 * (cell.host >> reader.bits), b'\0\0')
    else:
        l2_off = reader.l2_offset(reader.active, 0)
        patch(top, l2_off + 8 * (150 * KIB >> reader.bits), struct.pack('>Q', cell.host))
    bp('check', top, rc=(CORRUPT, LEAKS))
    if damage == 'low':
        whole = Untouched(top)
        bp('check', '--repair=leaks', top, rc=CORRUPT)
        whole.verify('by --repair=leaks, which cannot help here')
    bp('check', '--repair=all', top)
    before.verify((mid, 'qcow2'))


@case('leaks of an earlier pull are gone after the next')
def pull_after_leak(directory):
    top, mid, _ = three(directory)
    leak(top)
    before = Before(top, 'qcow2', (mid, 'qcow2'), os.path.join(directory, 'j'))
    bp('pull', top)
    before.verify()


@case('a dirty image is repaired, and that is said')
def dirty(directory):
    base = raw_image(os.path.join(directory, 'base.raw'), MIB)
    top = overlay(os.path.join(directory, 'top.qcow2'), 'base.raw', options='lazy_refcounts=on')
    qemu_io(top, 'qcow2', 'write -P 7 64k 64k', 'flush', 'abort', rc=(134, 6, 1))
    check(image_info(top)['dirty-flag'], 'the case is not dirty')
    before = Before(top, 'qcow2', (base, 'raw'), os.path.join(directory, 'j'))
    result = bp('pull', top)
    before.verify()
    check(any(word in result.err for word in ('dirty', 'repair', 'refcount')), f'nothing was said: {result}')


@case('an image marked corrupt is not written')
def corrupt(directory):
    top, mid, base = three(directory)
    patch(top, 79, b'\2')
    whole = Untouched(top, mid, base)
    refused((CORRUPT, REFUSED), ['corrupt'], 'pull', top)
    whole.verify('although it is marked corrupt')


@case('encryption is refused by name')
def encrypted(directory):
    base = raw_image(os.path.join(directory, 'base.raw'), MIB)
    top = os.path.join(directory, 'top.qcow2')
    qemu_img('create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', top)
    patch(top, 32, (2).to_bytes(4, 'big'))
    add_luks_extension(top)
    over = os.path.join(directory, 'over.qcow2')
    qemu_img('create', '-q', '-f', 'qcow2', '-u', '-b', 'top.qcow2', '-F', 'qcow2', over, MIB)
    whole = Untouched(top, over)
    for image in (top, over):
        refused(REFUSED, [('luks', 'encrypt')], 'pull', image)
    whole.verify('although one is encrypted')
    bp('info', top)


@case('backing file named ./a:b', './a:b')
@case('backing file named file:NAME', 'file:')
@case('backing file with blanks and UTF-8', 'ein Bär 日本.raw')
@case('backing file in a directory, its name 900 bytes long', 'deep')
def names(directory, name):
    if name == 'deep':
        name = '/'.join(['d' * 150] * 5 + ['base.raw'])
        os.makedirs(os.path.join(directory, os.path.dirname(name)))
    path = os.path.join(directory, 'plain.raw' if name == 'file:' else name)
    base = raw_image(path, MIB)
    name = 'file:' + base if name == 'file:' else name
    top = overlay(os.path.join(directory, 'top.qcow2'), name)
    before = Before(top, 'qcow2', (base, 'raw'), os.path.join(directory, 'j'))
    bp('pull', top)
    before.verify()


@case('backing file by another protocol', 'nbd://localhost/x', 'nbd')
@case('backing file as json:', 'json:{"driver":"raw","file":{"driver":"https","url":"base.raw"}}', 'json')
def protocols(directory, name, word):
    raw_image(os.path.join(directory, 'base.raw'), MIB)
    top = os.path.join(directory, 'top.qcow2')
    qemu_img('create', '-q', '-u', '-f', 'qcow2', '-b', name, '-F', 'raw', top, MIB)
    whole = Untouched(top)
    refused(REFUSED, [word], 'pull', top)
    whole.verify('although its backing file was refused')


if __name__ == '__main__':
    harness.main(workers=2)
