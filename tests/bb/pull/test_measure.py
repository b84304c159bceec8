# SPDX-License-Identifier: MIT OR Apache-2.0
"""How much space a pull needs, before it begins: a bound that no pull exceeds and that dense data
reaches. Devices are judged at the very size that was named, and at one cluster less.
"""
import json
import os

import harness
import images
from harness import KIB, MIB, NO_SPACE, Skip, bp, case, check, need, same
from images import Untouched, overlay, qemu_io, raw_image

SHAPES = {
    'qcow2': 'cluster_size=64k',
    'qcow2, small clusters, wide refcounts': 'cluster_size=512,refcount_bits=64',
    'qcow2, small clusters, narrow refcounts': 'cluster_size=512,refcount_bits=1',
    'qcow2, large clusters': 'cluster_size=2M',
    'qcow2, version 2': 'compat=0.10,cluster_size=4k',
    'QED': 'cluster_size=64k,table_size=4',
    'QED, small': 'cluster_size=16k,table_size=2',
}


def measure(path, *args):
    return json.loads(bp('measure', '--json', *args, path).out)


def format_of(shape):
    return 'qed' if shape.startswith('QED') else 'qcow2'


def cluster_of(shape):
    word = SHAPES[shape].split('cluster_size=')[1].split(',')[0]
    return int(word.rstrip('kM')) * {'k': KIB, 'M': MIB}.get(word[-1], 1)


def build(d, shape, top, *data_at, size=12 * MIB):
    raw_image(f'{d}/base.img', size, *data_at)
    overlay(top, f'{d}/base.img', format_of(shape), SHAPES[shape], size=size)
    qemu_io(top, format_of(shape), 'write -P 7 3M 100k')


def on_file(d, shape, data_at, slack):
    """Random bytes need what was measured, to a few clusters: the last one may end early."""
    top, fmt = f'{d}/top.img', format_of(shape)
    build(d, shape, top, *data_at)
    before = Untouched(top, f'{d}/base.img')
    m = measure(top)
    before.verify('by measure')
    same(m['file-size'], os.path.getsize(top), 'file-size')
    same(m['growth'], m['needed-size'] - m['file-size'], 'growth')
    check(m['fits'] and not m['device'] and not m['missing'], str(m))
    images.pulled(top, fmt)
    left = m['needed-size'] - os.path.getsize(top)
    check(0 <= left <= slack * cluster_of(shape), f'{left} bytes of the bound are left: {m}')
    same(measure(top)['growth'], 0, 'growth of an image that stands alone')


for name in SHAPES:
    @case(f'a file grows as measured: {name}', name)
    def dense(d, shape):
        on_file(d, shape, [(0, 12 * MIB)], 1)

    @case(f'a file grows as measured: {name}, scattered data', name)
    def scattered(d, shape):
        on_file(d, shape, [(at * 300 * KIB, 8 * KIB) for at in range(40)], 3)


@case('zeros written out are within the bound')
def zeros(d):
    top = f'{d}/top.img'
    build(d, 'qcow2', top, (0, MIB))
    with open(f'{d}/base.img', 'r+b') as base:
        base.seek(4 * MIB)
        base.write(bytes(4 * MIB))
    m = measure(top)
    check(m['copy-bytes'] >= 5 * MIB, f'data of zeros may have to be copied: {m}')
    images.pulled(top, 'qcow2')
    check(os.path.getsize(top) + 3 * MIB < m['needed-size'], str(m))


def attach(path):
    attached = harness.run('losetup', '--find', '--show', path)
    if attached.rc:
        raise Skip('may not attach a loop device')
    return attached.out.strip()


def detach(device):
    harness.run('losetup', '--detach', device)


def resized(d, path, size):
    """The device's content at another size, as a device."""
    copy = f'{d}/{size}.img'
    harness.run('cp', '--sparse=always', path, copy)
    os.truncate(copy, size)
    return copy, attach(copy)


def on_device(d, shape):
    need('losetup')
    fmt, store = format_of(shape), f'{d}/store'
    build(d, shape, store)  # not on the device: QEMU makes no QED image there
    os.truncate(store, 64 * MIB)
    device = attach(store)
    try:
        m = measure(device, '--allow-backing=any')
        flat = images.flatten(device, fmt, f'{d}/flat')
        check(m['device'] and m['fits'], str(m))
        same(m['file-size'], 64 * MIB, "the device's size")
    finally:
        detach(device)
    small, device = resized(d, store, m['needed-size'] - cluster_of(shape))
    try:
        before = images.digest(small)
        less = measure(device, '--allow-backing=any')
        check(not less['fits'] and less['missing'] == cluster_of(shape), str(less))
        result = bp('pull', '--allow-backing=any', device, rc=NO_SPACE)
        for number in less['needed-size'], less['file-size'], less['missing']:
            check(str(number) in result.err, f'{number} is not said: {result}')
    finally:
        detach(device)
    same(images.digest(small), before, 'bytes of the device that is too small')
    _, device = resized(d, store, m['needed-size'])
    try:
        bp('pull', '--allow-backing=any', device)
        images.judge_pulled(device, fmt, flat)
    finally:
        detach(device)


for name in SHAPES:
    @case(f'a device of just the size needed: {name}', name)
    def exact_device(d, shape):
        on_device(d, shape)


@case('a data file that is a device: too small by a cluster, and just enough')
def data_device(d):
    need('losetup')
    raw_image(f'{d}/base.img', 4 * MIB, (0, 2 * MIB))
    for size, rc in (2 * MIB - 64 * KIB, NO_SPACE), (2 * MIB, 0):
        with open(f'{d}/store', 'wb') as store:
            store.truncate(size)
        device = attach(f'{d}/store')
        try:
            top = overlay(f'{d}/top{size}', f'{d}/base.img', options=f'data_file={d}/data')
            qemu_io(top, 'qcow2', 'write -P 7 0 64k')
            images.qemu_img('amend', '-q', '-f', 'qcow2', '-o', f'data_file={device}', top)
            os.remove(f'{d}/data')
            with open(device, 'r+b') as file:
                file.write(b'\x07' * 64 * KIB)
            before = Untouched(top, f'{d}/store')
            m = measure(top, '--allow-backing=any')
            same((m['data-device'], m['data-needed-size'], m['data-missing'], m['fits']),
                 (True, 2 * MIB, 2 * MIB - size, not rc), str(m))
            result = bp('pull', '--allow-backing=any', top, rc=rc)
            if rc:
                check(str(m['data-missing']) in result.err and device in result.err, str(result))
                before.verify('although its data does not fit')
        finally:
            detach(device)


@case('zeros that a version 2 image must write above a base that stays')
def base_of_zeros(d):
    raw_image(f'{d}/base.img', 4 * MIB)
    overlay(f'{d}/mid', f'{d}/base.img')
    qemu_io(f'{d}/mid', 'qcow2', 'write -z 0 3M')
    top = overlay(f'{d}/top', f'{d}/mid', options='compat=0.10', base_fmt='qcow2')
    whole, part = measure(top), measure(top, '--base', f'{d}/base.img')
    check(part['needed-size'] >= whole['file-size'] + 3 * MIB, f'{whole}\n{part}')
    bp('pull', '--base', f'{d}/base.img', top)
    check(os.path.getsize(top) <= part['needed-size'], str(part))
    harness.refused(harness.FAILED, ['not in the backing chain'], 'measure', '--base', f'{d}/top2', top)


@case('a dry run says at least what is copied, where clusters are larger than the data: qcow2', 'qcow2, large clusters')
@case('a dry run says at least what is copied, where clusters are larger than the data: QED', 'QED')
def dry_run_of_large_clusters(d, shape):
    top = f'{d}/top'
    build(d, shape, top, (0, 4 * KIB), (5 * MIB, 20 * KIB), (11 * MIB + 512 * KIB, 64 * KIB))
    bound = measure(top)['copy-bytes']
    planned = bp('pull', '-n', '--json', top).json()['bytes']
    copied = bp('pull', '--json', top).json()['bytes']['copied']
    same((planned['to-copy'], sum(planned.values())), (bound, 12 * MIB), 'what a dry run says')
    check(copied <= planned['to-copy'], f'copied {copied}: {planned}')


@case('a dry run refuses a device that is too small: qcow2', 'qcow2')
@case('a dry run refuses a device that is too small: QED', 'QED')
def dry_run_on_device(d, shape):
    need('losetup')
    store = f'{d}/store'
    build(d, shape, store, (0, 2 * MIB))
    os.truncate(store, 64 * MIB)
    device = attach(store)
    try:
        needed = measure(device, '--allow-backing=any')['needed-size']
    finally:
        detach(device)
    for size, rc in (needed - cluster_of(shape), NO_SPACE), (needed, harness.DONE):
        copy, device = resized(d, store, size)
        try:
            before = images.digest(copy)
            result = bp('pull', '-n', '--allow-backing=any', device, rc=rc)
            same(images.digest(copy), before, 'bytes of the device after the dry run')
            for number in (needed, cluster_of(shape)) if rc else ():
                check(str(number) in result.err, f'{number} is not said: {result}')
            check(not rc or 'too small' in result.err, str(result))
            bp('pull', '--allow-backing=any', device, rc=rc)
        finally:
            detach(device)


@case('a dry run refuses a data file that is a device and too small')
def dry_run_on_data_device(d):
    need('losetup')
    raw_image(f'{d}/base.img', 2 * MIB)
    with open(f'{d}/store', 'wb') as store:
        store.truncate(MIB)
    device = attach(f'{d}/store')
    try:
        top = overlay(f'{d}/top', f'{d}/base.img', options=f'data_file={d}/data')
        images.qemu_img('amend', '-q', '-f', 'qcow2', '-o', f'data_file={device}', top)
        before = Untouched(top, f'{d}/store')
        for verb in ('-n',), ():
            result = bp('pull', *verb, '--allow-backing=any', top, rc=NO_SPACE)
            check('too small' in result.err and str(MIB) in result.err, str(result))
            before.verify('although its data does not fit')
    finally:
        detach(device)


@case('an unknown autoclear bit is still there when a device is too small')
def autoclear_kept(d):
    need('losetup')
    store = f'{d}/store'
    build(d, 'qcow2', store)
    os.truncate(store, 8 * MIB)
    images.patch(store, 88, (1 << 40).to_bytes(8, 'big'))
    device = attach(store)
    try:
        before = images.digest(store)
        bp('pull', '--allow-backing=any', device, rc=NO_SPACE)
    finally:
        detach(device)
    same(images.digest(store), before, 'bytes of the device')


if __name__ == '__main__':
    harness.main()
