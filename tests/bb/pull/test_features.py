# SPDX-License-Identifier: MIT OR Apache-2.0
"""Pull, pull --base, pull --compress and flatten on random chains with every feature.

One case a seed; BB_SEEDS and BB_FIRST_SEED as in test_random_chains.py. The first case turns the
judge on QEMU: `qemu-img rebase` loses snapshots, and the judge must see that. Fixed images for
each operation were rejected here; they are in test_shapes.py and its like.
"""
import os
import shlex
import sys

import harness
from feature_chains import FeatureChain
from harness import DONE, REFUSED, Failed, bp, case, check
from images import Untouched, compare_flat, image_check, image_info, overlay, qemu_img, qemu_io, raw_image
from judge import Before
from qcow2_reader import Reader
from test_random_chains import seeds

N_SEEDS = 12


@case('the judge sees that rebase loses a snapshot')
def judge_is_awake(directory):
    base = raw_image(os.path.join(directory, 'base.raw'), 1 << 20)
    top = overlay(os.path.join(directory, 'top.qcow2'), 'base.raw')
    qemu_img('snapshot', '-c', 'one', top)
    qemu_io(top, 'qcow2', 'write -P 1 0 64k')
    before = Before(top, 'qcow2', (base, 'raw'), os.path.join(directory, 'j'))
    qemu_img('rebase', '-b', '', top)
    try:
        before.verify()
    except Failed as error:
        check('view' in str(error), f'seen, but not for its reason: {error}')
    else:
        raise Failed('the judge did not see it')


def compression(chain):
    """--compress in one of its spellings that the image must accept."""
    rng = chain.rng
    reader = Reader(chain.top.path)
    kinds = ['zlib', 'zstd']
    if reader.version < 3:
        kinds = ['zlib']
    elif any(packed(reader)):
        kinds = [kinds[reader.packer]]
    kind = rng.choice(kinds)
    return rng.choice(['--compress', f'--compress={kind}', f'--compress={kind}:{rng.randint(1, 9)}'])


def packed(reader):
    for view in reader.views:
        for index in range(view.l1_size):
            l2_off = reader.l2_offset(view, index)
            for j in range(reader.l2_entries if l2_off else 0):
                yield reader.cell(l2_off, j).kind == 'packed'


def operation(chain):
    """(kind, options, layer that must be the backing file afterwards or None)."""
    rng, top = chain.rng, chain.top
    kind = rng.choice(['pull', 'pull', 'base', 'compress', 'flatten'])
    if kind == 'compress' and top.fmt == 'qcow2' and 'data_file' not in top.text:
        return 'pull', [compression(chain)], None
    if kind == 'base':
        bases = [b for b in chain.layers[1:] if top.fmt != 'qed' or b.fmt in ('raw', chain.unrecorded)]
        if bases:
            base = rng.choice(bases)
            if top.fmt == 'qed' and base.fmt != 'raw' and '--backing-format=' + base.fmt not in chain.args:
                chain.args.append('--backing-format=' + base.fmt)
            return 'pull', ['--base', base.path], base
    if kind == 'flatten':
        return 'flatten', ['-f', rng.choice(['raw', 'qcow2', 'qed'])], None
    return 'pull', [], None


def flatten_and_judge(chain, before, options, directory):
    whole = Untouched(chain.top.path)
    out = os.path.join(directory, 'out.img')
    bp('flatten', *chain.args, *options, chain.name, out)
    whole.verify('by flatten')
    fmt = options[-1]
    if fmt != 'raw':
        check(image_check(out, fmt) == 0, 'qemu-img check of the new file')
        check('backing-filename' not in image_info(out), 'the new file has a backing file')
    compare_flat(out, fmt, before.flat, 'in the new file')


def run_one(directory, seed):
    chain = FeatureChain(directory, seed)
    top = chain.top
    kind, options, base = operation(chain)
    text = f'{kind} {shlex.join(options + chain.args)}'
    try:
        below = chain.layers[1]
        before = Before(top.path, top.fmt, (below.path, below.fmt), os.path.join(directory, 'j'))
        untouched = Untouched(*chain.files_below())
        if kind == 'flatten':
            flatten_and_judge(chain, before, options, directory)
        else:
            pull_and_judge(chain, before, options, base)
        untouched.verify(f'by {kind}')
    except Failed as error:
        raise Failed(f'{error}\n{text}\n{chain}\nagain: BB_SEEDS={seed}-{seed} {sys.executable} {sys.argv[0]} '
                     f'{harness.blockpull} "seed {seed}"') from None


def pull_and_judge(chain, before, options, base):
    narrow = chain.n_snapshots > 0 and chain.refcount_bits < 8
    whole = Untouched(chain.top.path)
    result = bp('pull', *chain.args, *options, chain.name, rc=(DONE, REFUSED) if narrow else DONE)
    if result.rc == REFUSED:
        whole.verify('although the pull was refused')
    else:
        # Down to its own backing file there is nothing to pull, and nothing to mend for it.
        before.verify((base.path, base.fmt) if base else None, any('compress' in o for o in options),
                      idle=base is chain.layers[1])


if __name__ == '__main__':
    print(f'# seeds {seeds(N_SEEDS).start} to {seeds(N_SEEDS).stop - 1}')
    for number in seeds(N_SEEDS):
        harness.cases.append((f'every feature, seed {number}', run_one, (number,)))
    harness.main(workers=2)
