# SPDX-License-Identifier: MIT OR Apache-2.0
"""map, info, check and create, each compared with what qemu-img says of the same image.

map must agree extent by extent on random chains, check find them sound, and what create makes must
pass for QEMU's own. Damaged images have a test of their own.
"""
import functools
import os
import time

import harness
import images
from chains import Chain
from harness import CORRUPT, DONE, FAILED, LEAKS, MIB, bp, case, check, field, note, same
from images import Untouched, image_info, image_map, overlay, qemu_img, qemu_io, raw_image

SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
ROUNDS = int(os.environ.get('BB_ROUNDS', '6'))
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


@functools.lru_cache(None)
def chain_of(seed):
    """To be looked at by every case; only the last one changes it. Making it costs more than all the looks."""
    return Chain(harness.temp_dir(str(seed)), seed, whole_sectors=True)  # a sector's other part is QEMU's own matter


def for_random_chains(judge):
    note(f'BB_SEED={SEED}')
    for seed in range(SEED, SEED + ROUNDS):
        chain = chain_of(seed)
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
    for_random_chains(judge)


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
    for_random_chains(judge)


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
    for_random_chains(judge)


@case('info --chain draws the chain: each file, how it is named, its format, its size and what it holds')
def drawn(d):
    os.mkdir(f'{d}/a')
    raw_image(f'{d}/a/base', 3 * MIB, (MIB, MIB))
    overlay(f'{d}/a/mid', 'base', size=str(5 * MIB))
    overlay(f'{d}/top', 'a/mid', 'qed', base_fmt='qcow2')
    qemu_io(f'{d}/a/mid', 'qcow2', 'write -P 1 0 2M')
    tree = bp('info', '--chain', '--backing-format=qcow2', f'{d}/top').out.split('\n\n')[0].splitlines()
    held = [os.stat(f'{d}/{name}').st_blocks * 512 for name in ('top', 'a/mid', 'a/base')]
    same(tree, [f'{d}/top (qed, disk of 5 MiB, holds {human(held[0])})',
                f"`- 'a/mid': {d}/a/mid (qcow2, disk of 5 MiB, holds {human(held[1])})",
                f"   `- 'base': {d}/a/base (raw, disk of 3 MiB, holds {human(held[2])})"], 'the tree')
    check('`-' not in bp('info', f'{d}/top').out, 'a tree of one image')


def human(n):
    """As the command writes sizes: one decimal, cut, where less than three digits stand in front of it."""
    unit = max(i for i in range(6) if n >> 10 * i or not i)
    whole, tenths = n >> 10 * unit, (n % (1 << 10 * unit)) * 10 >> 10 * unit
    number = f'{whole}.{tenths}' if tenths and whole < 100 else str(whole)
    return f'{number} {("B", "KiB", "MiB", "GiB", "TiB", "PiB")[unit]}'


@case('info tells what qemu-img info tells of qcow2 features')
def features(d):
    for options in 'compat=0.10', 'refcount_bits=1', 'refcount_bits=64', 'compression_type=zstd', 'lazy_refcounts=on':
        path = f'{d}/a.img'
        qemu_img('create', '-q', '-f', 'qcow2', '-o', options, path, '8M')
        ours, theirs = (i['format-specific']['data'] for i in (bp('info', '--json', path).json(), image_info(path)))
        for name, value in theirs.items():
            same(field(ours, name), value, f'{name} of {options}')
        os.unlink(path)


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
        info = image_info(path)
        same(info['virtual-size'], 3 * MIB + 512, f'size taken from the base, {options}')
        same(info['backing-filename'], 'base.img', 'backing name')
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
    harness.refused(FAILED, ['base.img', 'not a qcow2'], 'create', '-f', 'qcow2', '-b', 'base.img', '-F', 'qcow2', path)


# Clusters and tables on both sides of the border; QEMU opens no table of one cluster.
QED_REACH = [('2M', 8, True), ('2M', 16, False), ('4M', 2, True), ('4M', 4, False), ('8M', 2, False),
             ('64M', 4, False)]


@case('create makes no QED image that QEMU could not map')
def create_qed_reach(d):
    for cluster, table, is_made in QED_REACH:
        options = f'cluster_size={cluster},table_size={table}'
        path = f'{d}/new.img'
        theirs = qemu_img('create', '-q', '-f', 'qed', '-o', options, f'{path}.theirs', '8M', rc=(0, 1))
        same(theirs.rc == 0, is_made, f'QEMU and {options}')
        result = bp('create', '-f', 'qed', '-o', options, path, '8M', rc=None)
        same(result.rc, DONE if is_made else harness.USAGE, f'{options}: {result}')
        same(os.path.exists(path), is_made, f'a file of {options}')
        if is_made:
            same(image_info(path)['virtual-size'], 8 * MIB, f'info of {options}')
            os.unlink(path)
        else:
            check('use smaller ones' in result.err, f'no advice: {result}')


@case('create makes no QED image with tables of one cluster: QEMU opens none')
def create_qed_one(d):
    for extra in '', ',cluster_size=4K', ',cluster_size=4M':
        options, path = f'table_size=1{extra}', f'{d}/new.img'
        qemu_img('create', '-q', '-f', 'qed', '-o', options, f'{path}.theirs', '8M')
        same(qemu_img('info', '-f', 'qed', f'{path}.theirs', rc=(0, 1)).rc, 1, f'QEMU and {options}')
        for rc, verb, *names in (harness.USAGE, 'create', path, '8M'), (FAILED, 'flatten', f'{path}.theirs', path):
            result = bp(verb, '-f', 'qed', '-o', options, *names, rc=rc)
            check('tables of 1 cluster; use' in result.err, f'no advice: {result}')
            check(not os.path.exists(path), f'{verb} left a file of {options}')
        same(bp('info', '--json', f'{path}.theirs').json()['virtual-size'], 8 * MIB, 'what is there already is read')


# ---- Behind all that look at the chains ----------------------------------------------------------

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
    for_random_chains(judge)


if __name__ == '__main__':
    harness.main()
