# SPDX-License-Identifier: MIT OR Apache-2.0
"""What measure says of random chains is enough, and no more than it must be.

A seed makes a chain with every feature, then spoils the image as a killed writer would: marked dirty with
refcounts gone, leaks inside and behind it. The pull (whole, to a base, compressing) runs with files
limited to the very bytes that were measured; on a loop device of just that size it succeeds, on one a
cluster smaller it is refused untouched. BB_SEEDS and BB_FIRST_SEED as in test_random_chains.py.
"""
import os
import struct

import harness
import images
from feature_chains import FeatureChain
from harness import DONE, MIB, NO_SPACE, Skip, bp, case, check, need, run, same
from images import image_check, image_info, qemu_img
from qcow2_reader import Reader
from test_features import operation
from test_random_chains import seeds

N_SEEDS = 10


class Counts:
    """The refcounts of an image, for spoiling them."""

    def __init__(self, path):
        self.r = Reader(path)
        self.width = 1 << self.r.order
        self.per_block = self.r.cluster * 8 // self.width

    def place(self, cluster):
        """The byte of a refcount of whole bytes, or None: no block counts the cluster."""
        if cluster // self.per_block >= self.r.rt_clusters * self.r.cluster // 8:
            return None
        block, = struct.unpack_from('>Q', self.r.file, self.r.rt_off + cluster // self.per_block * 8)
        return block + cluster % self.per_block * self.width // 8 if block else None


def put_counts(path, counts, clusters, value):
    for cluster in clusters:
        place = counts.place(cluster)
        if place is not None:
            images.patch(path, place, value.to_bytes(counts.width // 8, 'big'))


def spoil(path, rng):
    """As a killed writer leaves an image; what was done, or ''."""
    counts = Counts(path)
    if counts.width < 8:
        return ''
    n = os.path.getsize(path) // counts.r.cluster
    done = ''
    if rng.random() < 0.4:  # clusters that nothing refers to, at the end
        more = rng.randint(1, 30)
        os.truncate(path, (n + more) * counts.r.cluster)
        put_counts(path, counts, range(n, n + more), 1)
        done += f'; {more} leaks behind it'
        counts = Counts(path)
    if counts.r.version >= 3 and rng.random() < 0.5:
        lost = [c for c in range(n) if rng.random() < rng.choice([0.01, 0.3, 1])]
        put_counts(path, counts, lost, 0)
        images.patch(path, 72, struct.pack('>Q', counts.r.incompat | 1))
        done += f'; dirty, {len(lost)} refcounts lost'
    return done


def measure(chain, path, options, rc=DONE):
    result = bp('measure', '--json', *chain.args, *options, path, rc=rc)
    return result.json() if result.rc == DONE else result


def limited(m, *command):
    limit = max(m['needed-size'], m.get('data-needed-size', 0))
    return run('prlimit', f'--fsize={limit}', harness.blockpull, *command)


def data_file(path):
    return image_info(path)['format-specific']['data'].get('data-file') if path.endswith('qcow2') else None


def judge_sizes(chain, m, text):
    path, cluster = chain.top.path, chain.top.cluster
    used = os.path.getsize(path)
    check(used <= m['needed-size'], f'{used} bytes are used: {m}\n{text}')
    n_disks = 1 + chain.n_snapshots
    most = used + m['copy-bytes'] * n_disks + 2 * MIB + 40 * cluster * n_disks
    check(m['needed-size'] <= most, f'{used} bytes are used: {m}\n{text}')
    data = data_file(path)
    same(bool(data), 'data-needed-size' in m, f'numbers of a data file: {m}')
    if data:
        used = os.path.getsize(os.path.join(os.path.dirname(path), data))
        check(used <= m['data-needed-size'] <= max(used, chain.top.size + cluster), f'data file {used}: {m}\n{text}')


def enough(d, seed):
    chain = FeatureChain(d, seed)
    kind, options, base = operation(chain)
    options = options if kind == 'pull' else []
    done = spoil(chain.top.path, chain.rng) if chain.top.fmt == 'qcow2' else ''
    text = f'{chain}{done}\n{options}'
    m = measure(chain, chain.name, options, rc=None)
    if not isinstance(m, dict):
        result = bp('pull', *chain.args, *options, chain.name, rc=None)
        same(result.rc, m.rc, f'exit code of the pull, and what measure had: {m}\n{result}\n{text}')
        return
    result = limited(m, 'pull', *chain.args, *options, chain.name)
    check(result.rc == DONE, f'{m}\n{result}\n{text}')
    judge_sizes(chain, m, text)
    if base is not chain.layers[1]:  # down to its own backing file there is nothing to pull or to mend
        same(image_check(chain.top.path, chain.top.fmt), DONE, f'exit code of qemu-img check: {text}')


def attach(path):
    attached = run('losetup', '--find', '--show', path)
    if attached.rc:
        raise Skip('may not attach a loop device')
    return attached.out.strip()


def at_size(store, size, copy):
    """The image on a device of another size: the file, the device."""
    run('cp', '--sparse=always', store, copy)
    os.truncate(copy, size)
    return copy, attach(copy)


def too_small(d, chain, options, m, size, text):
    small, device = at_size(chain.top.path, size, f'{d}/small')
    try:
        before = images.digest(small)
        result = bp('pull', *options, device, rc=None)
        check(result.rc == (NO_SPACE if size < m['needed-size'] else DONE), f'{m}\n{result}\n{text}')
        same(images.digest(small), before, f'bytes of the device that is too small: {m}\n{text}')
    finally:
        run('losetup', '--detach', device)


def judge_end(d, device, fmt, text):
    """qemu-img takes what lies behind a QED image for leaks, and what was measured may be more than what is used."""
    if fmt != 'qed':
        same(image_check(device, fmt), DONE, f'exit code of qemu-img check: {text}')
        return
    used = bp('check', '--json', device, rc=None).json()['image-end-offset']
    run('dd', f'if={device}', f'of={d}/used', 'bs=1M', f'count={used}', 'iflag=count_bytes')
    same(image_check(f'{d}/used', fmt), DONE, f'exit code of qemu-img check of the {used} bytes in use: {text}')


def on_device(d, seed):
    need('losetup')
    chain = FeatureChain(d, seed)
    top, cluster = chain.top, chain.top.cluster
    if data_file(top.path) or cluster > MIB:
        raise Skip('its data is in another file, or its clusters are for the others to try')
    below = chain.layers[1]
    qemu_img('rebase', '-u', '-f', top.fmt, '-b', below.path, '-F', below.fmt, top.path)
    done = spoil(top.path, chain.rng) if top.fmt == 'qcow2' else ''
    options = [a for a in chain.args if not a.startswith('--allow')] + ['--allow-backing=any']
    options += chain.rng.choice([[], ['--compress']]) if top.fmt == 'qcow2' else []
    os.truncate(top.path, os.path.getsize(top.path) + 64 * MIB)
    text = f'{chain}{done}\n{options}'
    device = attach(top.path)
    try:
        m = bp('measure', '--json', *options, device, rc=None)
        end = bp('check', '--json', device, rc=None).json()['image-end-offset']
    finally:
        run('losetup', '--detach', device)
    if m.rc:
        raise Skip(f'no such device: {m.err}')
    m = m.json()
    size = -(-max(m['needed-size'], 4096) // 512) * 512
    if size - cluster >= end:  # else the image itself is cut off
        too_small(d, chain, options, m, size - cluster, text)
    _, device = at_size(top.path, size, f'{d}/exact')
    try:
        result = bp('pull', *options, device, rc=None)
        check(result.rc == DONE, f'{m}\n{result}\n{text}')
        judge_end(d, device, top.fmt, text)
    finally:
        run('losetup', '--detach', device)


if __name__ == '__main__':
    print(f'# seeds {seeds(N_SEEDS).start} to {seeds(N_SEEDS).stop - 1}')
    for number in seeds(N_SEEDS):
        case(f'seed {number}: a file limited to what was measured', number)(enough)
        if number % 3 == 0:
            case(f'seed {number}: a device of what was measured', number)(on_device)
    harness.main(workers=2)
