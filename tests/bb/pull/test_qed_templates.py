# SPDX-License-Identifier: MIT OR Apache-2.0
"""QED over templates of every format. QED can record no format but raw, so QEMU probes the others.

What stands alone is used as found, by every command and without an option. What names further files
could be a guest's raw disk with a header written into it: it is refused, until the user says what the
file is or that such files are to be trusted. QEMU, which probes everything, is the judge of content.
"""
import json
import os
import struct
import sys

import facts
import harness
import images
from chains import Chain
from harness import FAILED, KIB, MIB, REFUSED, USAGE, Failed, bp, case, check, need, refused, run, same
from images import Untouched, image_info, overlay, patch, qemu_img, qemu_io, raw_image
from test_random_chains import seeds

N_SEEDS = 8
NO_PROBE = 4


def features(path):
    with open(path, 'rb') as file:
        return struct.unpack_from('<Q', file.read(64), 16)[0]


def forget_raw(path):
    """As older QEMUs left it: the format of the backing file is not recorded."""
    patch(path, 16, struct.pack('<Q', features(path) & ~NO_PROBE))


def template(d, fmt, name=None):
    path = raw_image(f'{d}/{name or fmt}', MIB + 512)
    if fmt != 'raw':
        os.rename(path, f'{d}/noise')
        qemu_img('convert', '-f', 'raw', '-O', fmt, f'{d}/noise', path)
    return path


def over(d, base, fmt, name='top'):
    path = overlay(f'{d}/{name}', base, 'qed', None, fmt, 2 * MIB)
    qemu_io(path, 'qed', 'write -q -P 7 300k 5000')
    return path


def deep(d):
    """top (QED) over m2 (QED) over m1 (qcow2) over base (raw); m1 alone records a format."""
    raw_image(f'{d}/base', MIB)
    overlay(f'{d}/m1', 'base', size=2 * MIB)
    qemu_io(f'{d}/m1', 'qcow2', 'write -q -P 5 200k 70k')
    overlay(f'{d}/m2', 'm1', 'qed', None, 'qcow2')
    qemu_io(f'{d}/m2', 'qed', 'write -q -P 6 1500k 70k')
    return over(d, 'm2', 'qed')


def verbs(d, top, flat):
    """Every command that opens a chain, the pull last."""
    out = f'{d}/out'
    return [('info', '--chain', top), ('info', '--chain', '--json', top), ('map', top), ('measure', top), ('hash', top),
            ('verify', top, flat), ('flatten', top, out), ('pull', '-n', top), ('pull', top)]


def all_work(d, top, *args):
    flat = images.flatten(top, 'qed', f'{d}/flat')
    for verb in verbs(d, top, flat):
        extra = ['-F', 'raw'] if verb[0] == 'verify' else []
        bp(verb[0], *args, *extra, *verb[1:])
        if verb[0] == 'flatten':
            images.compare_flat(verb[-1], 'qed', flat, 'by flatten')
            os.unlink(verb[-1])
    images.judge_pulled(top, 'qed', flat)


@case('a template that stands alone needs no option: raw', 'raw')
@case('a template that stands alone needs no option: qcow2', 'qcow2')
@case('a template that stands alone needs no option: QED', 'qed')
def alone(d, fmt):
    top = over(d, os.path.basename(template(d, fmt)), fmt)
    forget_raw(top)
    text = bp('info', top).out
    check('not recorded (probed when' in text, text)
    info = bp('info', '--chain', '--json', top).json()[0]
    same((info['backing-format-from'], info['backing-opened-as']), ('probed', fmt), 'in info --json')
    check('backing-filename-format' not in info, 'called recorded')
    check(f'(probed: {fmt})' in bp('info', '--chain', top).out, 'not in the text')
    same(bp('info', '--json', top).json()['backing-format-from'], 'probed', 'in info --json without the chain')
    all_work(d, top)


@case('a template that names further files is refused by every command')
def named_further(d):
    top = deep(d)
    flat = images.flatten(top, 'qed', f'{d}/flat')
    before = Untouched(*(f'{d}/{name}' for name in ('top', 'm2', 'm1', 'base')))
    for verb in verbs(d, top, flat):
        for args in [], ['--backing-format=m2=qed'], [f'--backing-format={d}/m1=qcow2']:
            extra = ['-F', 'raw'] if verb[0] == 'verify' else []
            last = 'm1' if args and 'm2' in args[0] else 'm2'
            refused(REFUSED, ['--backing-format', last], verb[0], *args, *extra, *verb[1:])
    before.verify('although it was refused')
    check(not os.path.exists(f'{d}/out'), 'flatten left a file')


@case('a template that names further files is opened by the word of the user')
def by_word(d):
    os.mkdir(f'{d}/links')
    for args in (['--backing-format=auto'], ['--backing-format=m2=qed', '--backing-format', f'{d}/m1=qcow2'],
                 ['--backing-format', f'{d}/links/x=y=qed', '--backing-format=m1=qcow2', '--backing-format=qcow2'],
                 ['--backing-format=auto', '--backing-format=auto', '--backing-format=m2=qed', '--backing-format=m2=qed']):
        top = deep(d)
        if not os.path.lexists(f'{d}/links/x=y'):
            os.symlink(f'{d}/m2', f'{d}/links/x=y')
        info = bp('info', '--chain', '--json', *args, top).json()
        told = any('m2=' in a or 'x=y' in a for a in args)
        same([layer.get('backing-format-from') for layer in info],
             ['told' if told else 'probed', 'probed' if 'm1' not in ''.join(args) else 'told', 'recorded', None], str(args))
        all_work(d, top, *args)
        for name in 'base', 'm1', 'm2', 'top':
            os.unlink(f'{d}/{name}')


@case('words that mean nothing are refused')
def bad_words(d):
    top = deep(d)
    before = Untouched(top, f'{d}/m2')
    for words, args in ((['vmdk'], ['vmdk']), (["'qcow2'"], ['m2=qcow']), (['name is missing'], ['=qed']),
                        (['must be said'], ['m2=auto']), (['contradicts'], ['auto', 'qed']),
                        (['contradicts'], ['qed', 'auto']), (['contradicts'], ['qed', 'raw']),
                        (['said to be qed'], ['m2=qed', 'm2=raw']), (['unknown value'], ['m2=']), (['unknown'], [''])):
        for verb in 'pull', 'map', 'info', 'hash':
            refused(USAGE, ['--backing-format'] + words, verb, *(f'--backing-format={a}' for a in args), top)
    for words, args in ((['m3', 'no backing file'], ['m3=qed']), (['top', 'no backing file'], [f'{top}=qed']),
                        (['m2', 'qed and to be raw'], ['m2=qed', f'{d}/m2=raw']),
                        (['m1', 'base', 'records'], ['base=qcow2'])):
        for verb in ['pull'], ['pull', '-n'], ['map'], ['info', '--chain']:
            refused(FAILED, [('format is given', 'said to be')] + words, *verb, '--backing-format=auto',
                    *(f'--backing-format={a}' for a in args), top)
    refused(USAGE, ['--chain'], 'info', '--backing-format=m2=qed', top)
    refused(FAILED, ['m2', 'not a qcow2 image'], 'pull', '--backing-format=m2=qcow2', top)
    before.verify('although it was refused')


@case('raw for all files is not recorded below QED for one that looks like an image')
def common_raw(d):
    for fmt in 'qcow2', 'qed':
        base, top = template(d, fmt), f'{d}/top'
        overlay(top, os.path.basename(base), 'qed', base_fmt=fmt)
        before = Untouched(top, base)
        for verb in ['pull'], ['pull', '-n'], ['map'], ['hash']:
            refused(REFUSED, [os.path.basename(base), f'looks like a {fmt} image', '=raw'], *verb, '--backing-format=raw', top)
        before.verify()
        os.unlink(top)


@case('qcow2 that records no format stays refused without a word')
def qcow2_unrecorded(d):
    for fmt in 'raw', 'qcow2', 'qed':
        base, top = template(d, fmt), f'{d}/top'
        for word in 'auto', f'{fmt}={fmt}', fmt:
            overlay(top, fmt, base_fmt=fmt)
            with open(top, 'rb') as file:
                at = file.read(4096).index(struct.pack('>II', 0xE2792ACA, len(fmt)))
            patch(top, at, struct.pack('>I', 0x12345678))
            images.refused_unchanged(REFUSED, ['top', '--backing-format'], top, base)
            images.pulled(top, 'qcow2', f'--backing-format={word}')


@case('several images: a file must be in one of the chains')
def several(d):
    top = deep(d)
    raw_image(f'{d}/plain', MIB)
    other = overlay(f'{d}/other', 'plain')
    words = ['--backing-format=m2=qed', '--backing-format=m1=qcow2']
    before = Untouched(top, other)
    refused(USAGE, ['m3', 'no backing file'], 'pull', *words, '--backing-format=m3=qed', top, other)
    refused(USAGE, ['m3'], 'hash', *words, '--backing-format=m3=qed', other, top)
    refused(USAGE, ['m3'], 'verify', *words, '--backing-format=m3=qed', top, other)
    before.verify('although it was refused')
    bp('hash', *words, other, top)
    bp('verify', *words, top, top)
    flats = [images.flatten(top, 'qed', f'{d}/f1'), images.flatten(other, 'qcow2', f'{d}/f2')]
    bp('pull', *words, other, top)
    images.judge_pulled(top, 'qed', flats[0])
    images.judge_pulled(other, 'qcow2', flats[1])


@case('a guest that writes a header into its raw disk learns nothing')
def dressed_up(d):
    raw_image(f'{d}/secret', MIB)
    for options, words in (['-b', f'{d}/secret', '-F', 'raw'], 'backing'), (['-o', f'data_file={d}/secret'], 'data'):
        base = f'{d}/disk'
        qemu_img('create', '-q', '-f', 'qcow2', *options, base, *([] if words == 'backing' else [MIB]))
        if words == 'data':
            raw_image(f'{d}/secret', MIB)
        top = over(d, 'disk', 'qcow2')
        secret = Untouched(f'{d}/secret')
        images.refused_unchanged(REFUSED, ['disk', 'secret', '--backing-format', f'as its {words} file'], top, base)
        images.refused_unchanged(REFUSED, ['--allow-backing'], top, base, '--backing-format=auto', '--allow-backing=none')
        qemu_img('rebase', '-u', '-f', 'qed', '-F', 'raw', '-b', 'disk', top)
        same(features(top) & NO_PROBE, NO_PROBE, 'recorded as raw')
        flat = images.flatten(top, 'qed', f'{d}/flat')
        bp('pull', top)
        images.judge_pulled(top, 'qed', flat)
        secret.verify('by the pull')
        os.unlink(base)


@case('auto follows names only where they may lead')
def policy(d):
    os.makedirs(f'{d}/a')
    os.makedirs(f'{d}/b')
    raw_image(f'{d}/b/base', MIB)
    overlay(f'{d}/a/mid', '../b/base')
    top = over(f'{d}/a', 'mid', 'qcow2')
    images.refused_unchanged(REFUSED, ['--allow-backing'], top, f'{d}/a/mid', '--backing-format=auto')
    all_work(d, top, '--backing-format=auto', f'--allow-backing={d}/b')


@case('formats that only QEMU reads are not taken for raw')
def foreign(d):
    for fmt in 'vmdk', 'vdi', 'vpc', 'vhdx', 'parallels':
        base = f'{d}/{fmt}'
        qemu_img('create', '-q', '-f', fmt, base, '4M')
        top = overlay(f'{d}/top', fmt, 'qed', None, fmt, MIB)
        images.refused_unchanged(REFUSED, [fmt, 'not supported'], top, base)
        images.refused_unchanged(REFUSED, [fmt, 'not supported'], top, base, '--backing-format=auto')
        bp('pull', f'--backing-format={fmt}=raw', top)
        same(image_info(top).get('backing-filename'), None, 'the link')
        out = images.flatten(top, 'qed', f'{d}/flat')
        with open(out, 'rb') as got, open(base, 'rb') as wanted:
            bytes_wanted = wanted.read(MIB)
            same(got.read(len(bytes_wanted)), bytes_wanted, f'{fmt} as raw')
        os.unlink(top)


@case('called raw once, read as raw by all that open it later')
def told_raw(d):
    base = raw_image(f'{d}/base', 8 * MIB)
    qemu_img('create', '-q', '-f', 'qcow2', f'{d}/head', '8M')
    with open(f'{d}/head', 'rb') as file:
        patch(base, 0, file.read(256 * KIB))
    top = over(d, 'base', 'qcow2')
    as_file = {name: {'driver': 'file', 'filename': name} for name in (top, base)}
    as_raw = {'driver': 'qed', 'file': as_file[top], 'backing': {'driver': 'raw', 'file': as_file[base]}}
    wanted = f'{d}/wanted'
    qemu_img('convert', '-O', 'raw', 'json:' + json.dumps(as_raw), wanted)
    same(features(top) & NO_PROBE, 0, 'recorded before anything was written')
    process = harness.start(harness.blockpull, 'pull', '--backing-format=base=raw', '--bandwidth=1M', '--burst=64K',
                            '--progress=json', top)
    harness.lines_of(process, lambda event: True)
    harness.kill(process)
    images.settle(top)
    same(features(top) & NO_PROBE, NO_PROBE, 'recorded at the beginning of the pull')
    bp('pull', top)
    images.judge_pulled(top, 'qed', wanted)


@case('a base that stays is read as before: raw', 'raw')
@case('a base that stays is read as before: qcow2', 'qcow2')
@case('a base that stays is read as before: QED', 'qed')
def partial(d, fmt):
    for recorded in True, False:
        template(d, fmt, 'base')
        overlay(f'{d}/mid', 'base', 'qed', None, fmt, 2 * MIB)
        qemu_io(f'{d}/mid', 'qed', 'write -q -P 6 1500k 70k')
        top = over(d, 'mid', 'qed')
        if not recorded:
            forget_raw(f'{d}/mid')
        flat = images.flatten(top, 'qed', f'{d}/flat')
        bp('pull', '--backing-format=auto', '--base', f'{d}/base', top)
        same(image_info(top)['backing-filename'], 'base', 'the new link')
        same(bool(features(top) & NO_PROBE), fmt == 'raw', 'recorded as raw')
        images.compare_flat(top, 'qed', flat, 'by the partial pull')
        same(bp('info', '--chain', '--json', top).json()[1]['format'], fmt, 'format of the base')
        bp('pull', top)
        images.judge_pulled(top, 'qed', flat)


@case('a raw base with a header in it, below one that records raw, stays raw')
def raw_with_header(d):
    base = raw_image(f'{d}/base', 4 * MIB)
    qemu_img('create', '-q', '-f', 'qcow2', f'{d}/head', '4M')
    with open(f'{d}/head', 'rb') as file:
        patch(base, 0, file.read(256 * KIB))
    overlay(f'{d}/mid', 'base', size=4 * MIB)
    qemu_io(f'{d}/mid', 'qcow2', 'write -q -P 6 1500k 70k')
    top = over(d, 'mid', 'qcow2')
    flat = images.flatten(top, 'qed', f'{d}/flat')
    bp('pull', '--backing-format=mid=qcow2', '--base', base, top)
    same(features(top) & NO_PROBE, NO_PROBE, 'recorded as raw')
    images.compare_flat(top, 'qed', flat, 'by the partial pull')
    bp('pull', top)
    images.judge_pulled(top, 'qed', flat)


@case('the nbdkit plugin has the same choices')
def plugin(d):
    path = facts.nbdkit_plugin()
    need('nbdcopy')
    top = deep(d)
    flat = images.flatten(top, 'qed', f'{d}/flat')

    def serve(*words, rc=0, cwd=d):
        result = run('nbdkit', '-U', '-', path, f'image={top}', *words, '--run', f'nbdcopy $uri {d}/out', cwd=cwd)
        check((result.rc == 0) == (rc == 0), str(result))
        if not rc:
            same(images.digest(f'{d}/out'), images.digest(flat), f'content with {words}')
        return result

    for words in [], ['backing-format=m2=qed'], ['backing-format=auto', 'backing-format=m3=qed'], ['backing-format=vmdk'], \
            ['backing-format=auto', 'backing-format=qed'], ['backing-format=m2=raw', 'backing-format=m2=qed']:
        said = serve(*words, rc=1).err
        check('backing-format' in said or 'format is given' in said or 'said to be' in said, f'{words}: no sentence: {said}')
    serve('backing-format=auto')
    serve('backing-format=m2=qed', 'backing-format=m1=qcow2')
    serve('backing-format=m2=qed', 'backing-format=m1=qcow2', cwd='/')
    serve('backing-format=m2=qed', f'backing-format={d}/m1=qcow2', 'pull=true')


# ---- Random chains ------------------------------------------------------------------------------

class Templates(Chain):
    """Mostly QED, over anything, with and without a record of raw."""

    def _overlay(self, top):
        rng, below = self.rng, self.top
        fmt = rng.choice(['qcow2', 'qed', 'qed'])
        path = os.path.join(self.top_dir if top else self.base_dir, f'{"top" if top else "mid"}{len(self.layers)}.{fmt}')
        backing = below.path
        if rng.random() < 0.7:
            backing = os.path.relpath(below.path, os.path.dirname(path))
        self._create(path, fmt, None if rng.random() < 0.4 else self._size(), '-b', backing, '-F', below.fmt)
        layer = self.top
        layer.recorded_name = backing
        if fmt == 'qed' and below.fmt == 'raw' and rng.random() < 0.5:
            forget_raw(path)
            layer.text += ', raw not recorded'

    def unvouched(self):
        """Those below QED that are found by a probe and name a further file: (layer, recorded name)."""
        pairs = zip(self.layers, self.layers[1:], self.layers[2:])
        return [(below, above.recorded_name) for above, below, _ in pairs if above.fmt == 'qed']

    def words(self):
        """What the user may say to have the chain opened; [] where nothing is needed."""
        unvouched = self.unvouched()
        if not unvouched:
            return []
        if self.rng.random() < 0.4:
            return ['--backing-format=auto']
        return [f'--backing-format={self.rng.choice([name, layer.path])}={layer.fmt}' for layer, name in unvouched]


def templates(directory, seed):
    chain = Templates(directory, seed, depth=1 + seed % 4)
    top, words = chain.top, chain.words()
    try:
        flat = images.flatten(top.path, top.fmt, os.path.join(directory, 'flat'))
        untouched = Untouched(*(layer.path for layer in chain.layers[1:]))
        if words:
            refused(REFUSED, ['--backing-format'], 'pull', *chain.args, *words[1:], top.path)
        base = chain.rng.choice(chain.layers[1:]).path if chain.rng.random() < 0.4 else None
        if base:
            bp('pull', *chain.args, *words, '--base', base, top.path)
            images.compare_flat(top.path, top.fmt, flat, 'by the partial pull')
            words = ['--backing-format=auto']
        bp('pull', *chain.args, *words, top.path)
        images.judge_pulled(top.path, top.fmt, flat)
        untouched.verify('by the pull')
    except Failed as error:
        raise Failed(f'{error}\nwords: {words}\n{chain}\n'
                     f'again: BB_SEEDS={seed}-{seed} {sys.executable} {sys.argv[0]} {harness.blockpull}') from None


if __name__ == '__main__':
    print(f'# seeds {seeds(N_SEEDS).start} to {seeds(N_SEEDS).stop - 1}')
    for number in seeds(N_SEEDS):
        harness.cases.append((f'random templates, seed {number}', templates, (number,)))
    harness.main(workers=2)
