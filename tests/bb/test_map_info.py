# SPDX-License-Identifier: MIT OR Apache-2.0
"""map, info, check and create, each compared with what qemu-img says of the same image.

map must agree extent by extent on random chains, check in its verdict on sound and on damaged
images, and what create makes must pass for QEMU's own.
"""
import os
import random
import struct
import time

import harness
import images
from chains import Chain
from harness import CORRUPT, DONE, FAILED, KIB, LEAKS, MIB, bp, case, check, field, note, same
from images import Untouched, image_info, image_map, overlay, qemu_img, qemu_io, raw_image

SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
ROUNDS = int(os.environ.get('BB_ROUNDS', '20'))
VERDICT = {0: DONE, 2: CORRUPT, 3: LEAKS}


def plain(extents):
    """Only what QEMU 7.2 reports, neighbours merged that differ in nothing. Of data clusters QEMU
    also says whether they lie in a hole of the image file; whether ours says so is its affair."""
    merged = []
    for e in extents:
        item = {k: e.get(k) for k in ('start', 'length', 'depth', 'present', 'zero', 'data', 'offset')}
        item['zero'] = item['zero'] and not item['data']
        last = merged[-1] if merged else None
        if last and all(last[k] == item[k] for k in ('depth', 'present', 'zero', 'data')) and item['offset'] == (
                None if last['offset'] is None else last['offset'] + last['length']):
            last['length'] += item['length']
        else:
            merged.append(item)
    return merged


def for_random_chains(d, judge):
    note(f'BB_SEED={SEED}')
    for seed in range(SEED, SEED + ROUNDS):
        directory = f'{d}/{seed}'
        os.mkdir(directory)
        chain = Chain(directory, seed, whole_sectors=True)  # a sector's other part is QEMU's own matter
        try:
            judge(chain)
        except harness.Failed as error:
            raise harness.Failed(f'{error}\n{chain}\nagain: BB_SEED={seed} BB_ROUNDS=1') from None


@case('map --json agrees with qemu-img map on random chains')
def maps(d):
    def judge(chain):
        before = Untouched(*(layer.path for layer in chain.layers))
        ours = bp('map', '--json', *chain.args, chain.top.path).json()
        theirs = image_map(chain.top.path)
        for number, (our, their) in enumerate(zip(plain(ours), plain(theirs))):
            same(our, their, f'extent {number}')
        same(len(plain(ours)), len(plain(theirs)), 'number of extents')
        before.verify('by map')
    for_random_chains(d, judge)


@case('map covers the disk, and what it calls zero reads as zeros')
def map_covers(d):
    def judge(chain):
        at = 0
        with open(images.flatten(chain.top.path, chain.top.fmt, f'{d}/flat'), 'rb') as flat:
            for extent in bp('map', '--json', *chain.args, chain.top.path).json():
                same(extent['start'], at, 'start of an extent')
                check(extent['length'] > 0, 'an empty extent')
                content = flat.read(extent['length'])
                check(not extent['zero'] or not content.strip(b'\0'), f'not zero: {extent}')
                check(extent['zero'] or extent['data'], f'neither data nor zero: {extent}')
                at += extent['length']
        same(at, chain.top.size, 'end of the last extent')
        check(bp('map', *chain.args, chain.top.path).out.strip() or not chain.top.size, 'map for people says nothing')
    for_random_chains(d, judge)


@case('info --json agrees with qemu-img info on random chains')
def infos(d):
    def judge(chain):
        for layer in chain.layers:
            args = [] if layer is not chain.top else chain.args
            ours, theirs = bp('info', '--json', *args, layer.path).json(), image_info(layer.path)
            # QEMU 7.2 counts sectors; a raw file may end inside one.
            same(-(-field(ours, 'virtual-size') // 512) * 512, theirs['virtual-size'], f'virtual size of {layer}')
            same(field(ours, 'format'), theirs['format'], f'format of {layer}')
            if 'cluster-size' in theirs:
                same(field(ours, 'cluster-size'), theirs['cluster-size'], f'cluster size of {layer}')
            if 'backing-filename' in theirs:
                same(field(ours, 'backing-filename'), theirs['backing-filename'], str(layer))
            text = bp('info', *args, layer.path).out
            check(theirs['format'] in text and os.path.basename(layer.path) in text, f'info for people: {text}')
        ours = bp('info', '--json', '--chain', *chain.args, chain.top.path)
        for layer in chain.layers:
            check(os.path.basename(layer.path) in ours.out, f'--chain leaves out {layer}: {ours}')
    for_random_chains(d, judge)


@case('info tells what qemu-img info tells of qcow2 features')
def features(d):
    for options in 'compat=0.10', 'refcount_bits=1', 'refcount_bits=64', 'compression_type=zstd', 'lazy_refcounts=on':
        path = f'{d}/a.img'
        qemu_img('create', '-q', '-f', 'qcow2', '-o', options, path, '8M')
        ours, theirs = (i['format-specific']['data'] for i in (bp('info', '--json', path).json(), image_info(path)))
        for name, value in theirs.items():
            same(field(ours, name), value, f'{name} of {options}')
        os.unlink(path)


@case('check finds sound images sound, before and after the pull')
def check_sound(d):
    def judge(chain):
        for layer in chain.layers:
            if layer.fmt != 'raw':
                before = Untouched(layer.path)
                theirs = images.image_check(layer.path, layer.fmt)
                same(bp('check', layer.path, rc=None).rc, VERDICT[theirs], str(layer))
                before.verify('by check')
        bp('pull', *chain.args, chain.top.path)
        result = bp('check', '--json', chain.top.path)
        same(field(result.json(), 'corruptions'), 0, 'corruptions')
        same(field(result.json(), 'leaks'), 0, 'leaks')
    for_random_chains(d, judge)


# ---- Damage -------------------------------------------------------------------------------------

def be64_at(path, offset):
    with open(path, 'rb') as file:
        file.seek(offset)
        return struct.unpack('>Q', file.read(8))[0]


def damage_qcow2(path, cluster, rng):
    """Bends one table entry, found from the header's published fields. Returns what was done."""
    offset_mask = 0x00fffffffffffe00
    l1 = be64_at(path, 40)
    block = be64_at(path, be64_at(path, 48)) & offset_mask
    l2 = be64_at(path, l1) & offset_mask
    n_clusters = os.path.getsize(path) // cluster
    kind = rng.choice(['refcount', 'refcount', 'l2', 'l2', 'l1', 'copied'])
    if kind == 'refcount':
        index, value = rng.randrange(n_clusters), rng.choice([0, 2, 5])
        images.patch(path, block + 2 * index, struct.pack('>H', value))
        return f'refcount of cluster {index} of {n_clusters} := {value}'
    if kind == 'l1':
        value = rng.choice([0, be64_at(path, l1) ^ 1 << 63, be64_at(path, l1) + cluster, 1 << 40 | 1 << 63])
        images.patch(path, l1, struct.pack('>Q', value))
        return f'L1[0] := {value:#x}'
    used = [i for i in range(min(cluster // 8, 1024)) if be64_at(path, l2 + 8 * i)]
    index = rng.choice(used)
    old = be64_at(path, l2 + 8 * index)
    if kind == 'copied':
        value = old ^ 1 << 63
    else:
        value = rng.choice([0, be64_at(path, l2 + 8 * rng.choice(used)), old & ~offset_mask | 1 << 40,
                            old & ~offset_mask | l1, old + 512, old + cluster])
    images.patch(path, l2 + 8 * index, struct.pack('>Q', value))
    return f'L2[{index}] was {old:#x} := {value:#x}'


def damage_qed(path, cluster, rng):
    with open(path, 'rb') as file:
        l1, = struct.unpack('<Q', file.read(48)[40:])
        file.seek(l1)
        l2, = struct.unpack('<Q', file.read(8))
        file.seek(l2)
        entries = struct.unpack(f'<{cluster // 8}Q', file.read(cluster))
    used = [i for i, e in enumerate(entries) if e > 1]
    index = rng.choice(used)
    value = rng.choice([0, 1, entries[rng.choice(used)], 1 << 40, entries[index] + 512])
    images.patch(path, l2 + 8 * index, struct.pack('<Q', value))
    return f'L2[{index}] was {entries[index]:#x} := {value:#x}'


@case('check has the verdict of qemu-img check on damaged qcow2', 'qcow2', damage_qcow2)
@case('check has the verdict of qemu-img check on damaged QED', 'qed', damage_qed)
def check_damaged(d, fmt, damage):
    note(f'BB_SEED={SEED}')
    rng = random.Random(SEED)
    seen = set()
    for cluster in 4 * KIB, 64 * KIB:
        pristine = f'{d}/pristine{cluster}'
        qemu_img('create', '-q', '-f', fmt, '-o', f'cluster_size={cluster}', pristine, '8M')
        qemu_io(pristine, fmt, 'write -P 1 0 300k', 'write -P 2 500k 100k', 'write -z 1M 64k')
        for count in range(60):
            path = f'{d}/damaged'
            with open(pristine, 'rb') as source, open(path, 'wb') as copy:
                copy.write(source.read())
            what = damage(path, cluster, rng)
            theirs = qemu_img('check', '-f', fmt, path, rc=(0, 1, 2, 3))
            ours = bp('check', path, rc=None)
            wanted = (VERDICT[theirs.rc],) if theirs.rc in VERDICT else (CORRUPT, FAILED, harness.REFUSED)
            check(ours.rc in wanted, f'{cluster}, {what}: {ours}\nbut {theirs}')
            check(ours.rc == DONE or (ours.out + ours.err).strip(), f'not a word: {ours}')
            seen.add(ours.rc)
    check(len(seen) > 1 and CORRUPT in seen, f'the damage was too uniform: verdicts {seen}')


# ---- create -------------------------------------------------------------------------------------

CREATE = [('qcow2', f'cluster_size={512 << i}') for i in range(13)]
CREATE += [('qcow2', f'refcount_bits={1 << i}') for i in range(7)]
CREATE += [('qcow2', o) for o in ('compat=0.10', 'compat=1.1,compression_type=zstd', 'lazy_refcounts=on',
                                  'cluster_size=4096,compat=0.10', 'cluster_size=64K,refcount_bits=1')]
CREATE += [('qed', f'cluster_size={4096 << i}') for i in (0, 2, 4, 8)]
CREATE += [('qed', f'table_size={n}') for n in (2, 4, 16)] + [('qed', None), ('qcow2', None)]


@case('what create makes, QEMU takes for its own')
def create(d):
    base = raw_image(f'{d}/base.img', 3 * MIB + 512, (MIB, MIB))
    for fmt, options in CREATE:
        path = f'{d}/new.img'
        args = ['create', '-f', fmt] + (['-o', options] if options else [])
        bp(*args, path, '8M')
        same(images.image_check(path, fmt), 0, f'qemu-img check of {options}')
        info = image_info(path)
        same((info['format'], info['virtual-size']), (fmt, 8 * MIB), f'info of {options}')
        qemu_img('create', '-q', '-f', fmt, *(['-o', options] if options else []), f'{path}.theirs', '8M')
        theirs = image_info(f'{path}.theirs')
        same(info['cluster-size'], theirs['cluster-size'], f'cluster size of {options}')
        same(info.get('format-specific'), theirs.get('format-specific'), f'details of {options}')
        refused_before = Untouched(path)
        bp(*args, path, '8M', rc=FAILED)  # never over an existing file
        refused_before.verify('by a second create')
        os.unlink(path)
        os.unlink(path + '.theirs')
        bp(*args, '-b', 'base.img', '-F', 'raw', path)
        same(image_info(path)['virtual-size'], 3 * MIB + 512, f'size taken from the base, {options}')
        same(image_info(path)['backing-filename'], 'base.img', 'backing name')
        images.compare_flat(path, fmt, base, f'as an overlay, {options}')
        qemu_io(path, fmt, 'write -P 5 100k 70k', 'write -P 6 3M 512')
        same(images.image_check(path, fmt), 0, f'qemu-img check of {options} after a write')
        flat = images.flatten(path, fmt, f'{d}/flat')
        bp('pull', path)
        images.judge_pulled(path, fmt, flat)
        os.unlink(path)


@case('create refuses nonsense and leaves no file')
def create_refuses(d):
    raw_image(f'{d}/base.img', MIB)
    path = f'{d}/new.img'
    for args in (['-f', 'qcow2', '-o', 'cluster_size=3000', path, '8M'],
                 ['-f', 'qcow2', '-o', 'cluster_size=4M', path, '8M'],
                 ['-f', 'qcow2', '-o', 'refcount_bits=3', path, '8M'], ['-f', 'vmdk', path, '8M'],
                 ['-f', 'qcow2', '-o', 'nonsense=1', path, '8M'], ['-f', 'qcow2', path],
                 ['-f', 'qed', '-o', 'table_size=3', path, '8M'],
                 ['-f', 'qcow2', '-o', 'compat=0.10,refcount_bits=1', path, '8M'],
                 ['-f', 'qcow2', '-b', 'base.img', path], ['-f', 'qcow2', '-b', 'gone.img', '-F', 'raw', path],
                 ['-f', 'qcow2', path, '-5'], ['-f', 'qcow2', path, '99999999999999T']):
        result = bp('create', *args, rc=(FAILED, harness.USAGE, harness.REFUSED))
        check(result.err.strip(), f'refused without a word: {result}')
        check(not os.path.exists(path), f'a file was left behind: {result}')


if __name__ == '__main__':
    harness.main()
