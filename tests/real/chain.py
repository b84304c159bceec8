# SPDX-License-Identifier: MIT OR Apache-2.0
"""A mixed chain: a local overlay over a qcow2 image behind a server, which itself names a raw base behind another. What
every verb says of it is what it says of the same chain in files, and what qemu-img says."""
import json

from rig import check, need, same


def without_names(found):
    """The object without what depends on where the images are."""
    names = ('filename', 'backing-filename', 'full-backing-filename', 'actual-size', 'locked', 'children', 'network')
    if isinstance(found, list):
        return [without_names(one) for one in found]
    if isinstance(found, dict):
        return {name: without_names(one) for name, one in found.items() if name not in names}
    return found


def ranges(found):
    """Of a map what a guest sees: neighbours that differ in nothing of it are one."""
    merged = []
    for one in found:
        what = [one['depth'], one['zero'], one['data']]
        if merged and merged[-1][1] == what:
            merged[-1][0] += one['length']
        else:
            merged.append([one['length'], what])
    return merged


def verbs(rig, top, twin, allow):
    for words in ('info', '--chain', '--json'), ('map', '--json'), ('measure', '--json'), ('measure', '--json', '--compress'):
        remote = json.loads(rig.ours_run(*words, *allow, top).stdout)
        local = json.loads(rig.ours_run(*words, twin).stdout)
        same(without_names(remote), without_names(local), f'{words}')
    chain = json.loads(rig.ours_run('info', '--chain', '--json', *allow, top).stdout)
    theirs = json.loads(rig.run('qemu-img', 'info', '--backing-chain', '--output=json', top).stdout)
    for name in 'format', 'virtual-size', 'backing-filename':
        same([image.get(name) for image in chain], [image.get(name) for image in theirs], f'{name}, ours and theirs')
    ours = json.loads(rig.ours_run('map', '--json', *allow, top).stdout)
    theirs = json.loads(rig.run('qemu-img', 'map', '--output=json', top).stdout)
    same(ranges(ours), ranges(theirs), 'the map, ours and theirs')
    return len(ours)


def digests(rig, top, twin, allow):
    remote = rig.ours_run('hash', '--chunk=1M', *allow, top).stdout.splitlines()
    local = rig.ours_run('hash', '--chunk=1M', twin).stdout.splitlines()
    same([line.split()[0] for line in remote], [line.split()[0] for line in local], 'the digests')
    check(len(remote) > 20, f'the digests of chunks: {remote}')


def flattened(rig, top, twin, allow):
    for fmt in 'raw', 'qcow2':
        remote, local = rig.d / f'remote.{fmt}', rig.d / f'local.{fmt}'
        rig.ours_run('flatten', '-q', '-f', fmt, *allow, top, remote)
        rig.ours_run('flatten', '-q', '-f', fmt, twin, local)
        for other, of in (local, fmt), (twin, 'qcow2'):
            rig.run('qemu-img', 'compare', '-q', '-f', fmt, '-F', of, remote, other)
    same((rig.d / 'remote.raw').read_bytes(), (rig.d / 'local.raw').read_bytes(), 'the flattened disks')


def mixed(rig):
    need('nbdkit')
    rig.base()
    _, base = rig.nbdkit('file', rig.d / 'base.raw', sock='base')
    middle, middle_twin = rig.overlay(base, rig.d / 'base.raw', 'raw', top='middle')
    _, uri = rig.nbdkit('file', middle, sock='middle')
    top, twin = rig.overlay(uri, middle_twin, 'qcow2')
    allow = [f'--allow-remote=nbd+unix:{rig.d}']
    n = verbs(rig, top, twin, allow)
    digests(rig, top, twin, allow)
    flattened(rig, top, twin, allow)
    refused = rig.ours_run('map', f'--allow-remote=nbd+unix:{rig.d}/middle', top, rc=6)  # the second name asks, too
    check(f'nbd+unix:{rig.d}/base' in refused.stderr, f'what allows the second: {refused.stderr}')
    rig.ours_run('pull', '-q', *allow, top)
    rig.judge(top, twin)
    return f'info, map ({n} ranges), measure, hash, flatten and pull as of files, and as qemu-img says'
