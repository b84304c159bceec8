# SPDX-License-Identifier: MIT OR Apache-2.0
"""A chain that grows and shrinks behind a monitor: qemu-storage-daemon, the nbdkit plugin and `blockpull serve` are sent what
drivers send (qmp_sequences.py), and must answer alike, sentences of refusals too.
"""
import os
import signal
import time

import harness
import images
import qmp_play
import qmp_sequences
import serve_rig
from harness import USAGE, Failed, bp, case, check, refused, same
from qmp_play import NODES, filled, play, through_nbd, through_rings
from qmp_rig import Qmp, chain, end, start_ours
from serve_rig import over

qmp_play.register({**qmp_sequences.REFUSALS, **qmp_sequences.DEEDS, **qmp_sequences.COMMITS})


# ---- serve's directories ------------------------------------------------------------------------

def steered(d, *args):
    """A server with its frontend, whose rings run, and a client."""
    server, front = serve_rig.running(d, '-q', f'--control={d}/c', *args)
    return server, front, Qmp(f'{d}/c', server)


def refused_with(client, word, step, d):
    answer = client.send({'execute': step[0], 'arguments': filled(step[1], d)})
    check(word in answer.get('error', {}).get('desc', ''), f'{step}: {answer}')


@case('serve without --snapshot-dir makes and opens no image, and says how to')
def no_directory(d):
    chain(d)
    server, front, client = steered(d, '--node-name=drive0', f'{d}/top.img')
    for step in qmp_sequences.sync('s1'), qmp_sequences.ADDED, qmp_sequences.transaction(qmp_sequences.sync('s1')):
        refused_with(client, '--snapshot-dir', step, d)
    refused_with(client, '', qmp_sequences.stream('#layer1'), d)
    over(server, front)
    check(not os.path.exists(f'{d}/s1.img'), 'a file was made')


@case('what lies outside of --snapshot-dir is neither made, opened nor written to')
@case('what lies outside of --snapshot-dir is left alone, without a sandbox', '--no-sandbox')
def outside(d, *args):
    for name in 'in', 'out':
        os.mkdir(f'{d}/{name}')
    chain(f'{d}/out')
    os.symlink('../out', f'{d}/in/link')
    images.qemu_img('create', '-q', '-f', 'qcow2', '-b', f'{d}/out/top.img', '-F', 'qcow2', '-u', f'{d}/out/n1.img', '4M')
    server, front, client = steered(d, *args, '--node-name=drive0', f'--snapshot-dir={d}/in', f'{d}/out/top.img')
    for file in 'out/s1.img', 'in/../out/s1.img', 'in/link/s1.img', 's1.img':
        refused_with(client, '--snapshot-dir', qmp_sequences.sync('s1', snapshot_file=f'{d}/{file}'), d)
    refused_with(client, '--snapshot-dir', qmp_sequences.sync('s1', snapshot_file=f'{d}/out/n1.img', mode='existing'), d)
    same(sorted(os.listdir(f'{d}/out')), ['base.img', 'mid.img', 'n1.img', 'top.img'], 'the files there')
    front.do('write', 0, 0, 0x41, answer=0)
    same(client.send({'execute': 'blockdev-snapshot-sync',
                      'arguments': {'node-name': 'drive0', 'snapshot-file': f'{d}/in/s1.img', 'snapshot-node-name': 's1'}}), {'return': {}}, 'inside')
    front.do('write', 0, 0, 0x42, answer=0)
    front.do('read', 0, 0, answer=0x42)
    if not args:
        refused_with(client, 'out/top.img', qmp_sequences.stream('drive0'), d)
    over(server, front)
    same(images.image_info(f'{d}/in/s1.img')['backing-filename'], f'{d}/out/top.img', 'the link')
    images.qemu_io(f'{d}/out/top.img', 'qcow2', 'read -P 0x41 0 4k')
    images.qemu_io(f'{d}/in/s1.img', 'qcow2', 'read -P 0x42 0 4k')


@case('a snapshot, and the server is killed: what the machine was told is done is there', 4)
@case('a snapshot, and the server is killed: a machine that has written before', 4, 0x31)
def killed(d, n, *before):
    chain(d)
    server, front, client = steered(d, '--node-name=drive0', f'--snapshot-dir={d}', f'{d}/top.img')
    for byte in before:
        for sector in range(0, 64 * n, 64):
            front.do('write', 0, sector, byte, answer=0)
    same(client.send({'execute': 'blockdev-snapshot-sync',
                      'arguments': {'node-name': 'drive0', 'snapshot-file': f'{d}/s1.img', 'snapshot-node-name': 's1'}}), {'return': {}}, 'the snapshot')
    for sector in range(0, 64 * n, 64):
        front.do('write', 0, sector, 0x51, answer=0)
    serve_rig.end(server, signal.SIGKILL, 137)
    os.unlink(f'{d}/c')
    server = serve_rig.serving(d, '-q', f'{d}/s1.img')
    front.runs()
    for sector in range(0, 64 * n, 64):
        front.do('read', 0, sector, answer=0x51)
    over(server, front)
    images.check_leaks_at_worst(f'{d}/s1.img', 'qcow2')


@case('a machine whose rings stop after a snapshot gives the new image away, and has it back')
def given_away(d):
    chain(d)
    server, front, client = steered(d, '--node-name=drive0', f'--snapshot-dir={d}', f'{d}/top.img')
    front.do('write', 0, 0, 0x61, answer=0)
    same(client.send({'execute': 'blockdev-snapshot-sync',
                      'arguments': {'node-name': 'drive0', 'snapshot-file': f'{d}/s1.img', 'snapshot-node-name': 's1'}}), {'return': {}}, 'the snapshot')
    front.do('write', 0, 8, 0x62, answer=0)
    front.do('stop')
    refused_with(client, 'inactive', qmp_sequences.sync('s2', 's1'), d)
    images.qemu_io(f'{d}/s1.img', 'qcow2', 'read -P 0x61 0 4k', 'read -P 0x62 4k 4k', 'write -P 0x63 8k 4k')
    front.do('start')
    for sector, byte in (0, 0x61), (8, 0x62), (16, 0x63):
        front.do('read', 0, sector, answer=byte)
    front.do('write', 0, 24, 0x64, answer=0)
    over(server, front)
    same(images.image_check(f'{d}/s1.img', 'qcow2'), 0, 'check')
    images.qemu_io(f'{d}/s1.img', 'qcow2', 'read -P 0x63 8k 4k', 'read -P 0x64 12k 4k')


@case('command lines that make no sense')
def usage(d):
    chain(d)
    refused(USAGE, ['--control'], 'serve', f'--socket-path={d}/s', f'--snapshot-dir={d}', f'{d}/top.img')
    refused(USAGE, ['--control'], 'serve', f'--socket-path={d}/s', '--node-name=a', f'{d}/top.img')
    for word, option in (('no such', '--snapshot-dir=none'), ("'7a'", '--node-name=7a'), ('twice', '--node-name=a'), ('letter', f'--node-name={"a" * 32}')):
        refused(USAGE, [word], 'serve', f'--socket-path={d}/s', f'--control={d}/c', '--node-name=a', option, f'{d}/top.img')
    refused(USAGE, ['--fd-map'], 'serve', f'--socket-path={d}/s', f'--control={d}/c', f'--snapshot-dir={d}', f'--fd-map={d}/top.img=0', f'{d}/top.img')
    refused(USAGE, ['--map-backing'], 'serve', f'--socket-path={d}/s', f'--control={d}/c', f'--snapshot-dir={d}', '--allow-remote=nbd:h', f'{d}/top.img')


# ---- ctl ----------------------------------------------------------------------------------------

@case('ctl snapshot, of the plugin', 'plugin')
@case('ctl snapshot, of serve', 'serve')
def by_ctl(d, which):
    chain(d)
    if which == 'serve':
        server, front, _ = steered(d, f'--snapshot-dir={d}', f'{d}/top.img')
    else:
        server, _, _ = start_ours(d)
    bp('ctl', f'{d}/c', 'snapshot', 's1.img', cwd=d)
    refused(1, ['s1.img'], 'ctl', f'{d}/c', 'snapshot', 's1.img', cwd=d)
    bp('ctl', f'{d}/c', 'snapshot', f'{d}/s2.img')
    same([images.image_info(f'{d}/{name}.img', '-U')['full-backing-filename'] for name in ('s2', 's1')], [f'{d}/s1.img', f'{d}/top.img'], 'the links')
    refused(USAGE, ['--base'], 'ctl', f'--base={d}/mid.img', f'{d}/c', 'info')
    refused(USAGE, ['name'], 'ctl', f'{d}/c', 'snapshot')
    if which == 'serve':
        over(server, front)
    else:
        end(d, server)


# ---- commits ------------------------------------------------------------------------------------

@case('what the machine writes between BLOCK_JOB_PENDING and job-finalize is not lost')
def late_writes(d):
    """QEMU 7.2 loses it, so its daemon is not asked."""
    chain(d)
    process, client, _ = start_ours(d, *(f'node-name={node}' for node in NODES))
    guest = through_nbd(d)
    play(client, d, [qmp_sequences.sync('s1'), qmp_sequences.DATA, qmp_sequences.commit('s1', base_node='drive0', auto_finalize=False),
                     qmp_sequences.READY, *qmp_sequences.job('job-complete'), 'BLOCK_JOB_PENDING', qmp_sequences.MORE,
                     *qmp_sequences.job('job-finalize'), qmp_sequences.ENDED, qmp_sequences.SEEN], guest)
    end(d, process)
    images.qemu_io(f'{d}/top.img', 'qcow2', *qmp_sequences.SEEN[1])


@case('a commit, and the server is killed when it is done: what the machine was told is done is there')
def killed_behind_commit(d):
    chain(d)
    server, front, client = steered(d, '--node-name=drive0', f'--snapshot-dir={d}', f'{d}/top.img')
    play(client, d, [qmp_sequences.sync('s1'), ('io', ['write -P 21 0 1M']), qmp_sequences.commit('s1', base_node='drive0'), qmp_sequences.READY,
                     *qmp_sequences.job('job-complete'), qmp_sequences.ENDED], through_rings(front))
    through_rings(front)(['write -P 22 512k 1M'])
    serve_rig.end(server, signal.SIGKILL, 137)
    os.unlink(f'{d}/c')
    server = serve_rig.serving(d, '-q', f'{d}/top.img')
    front.runs()
    through_rings(front)(['read -P 21 0 512k', 'read -P 22 512k 1M'])
    over(server, front)
    images.check_leaks_at_worst(f'{d}/top.img', 'qcow2')


@case('every byte of a machine that writes at random while its chain grows and shrinks')
def under_load(d):
    top = serve_rig.disk(d)
    program = os.path.join(os.path.dirname(harness.blockpull), '..', 'tests', 'vhost_frontend')
    storm = harness.start(program, 'storm', '-f', serve_rig.FIRST, '-d', 32, '-q', 2, '-s', 5, '--', harness.blockpull, 'serve', '--quiet',
                          f'--socket-path={d}/s', f'--control={d}/c', f'--snapshot-dir={d}', '--node-name=drive0', '--node-name=base', top)
    client = Qmp(f'{d}/c', storm)
    n, ends, answers = 0, 0, []
    try:
        while True:
            a, b, c = (f'{name}{n}' for name in 'abc')
            between = [], [qmp_sequences.commit(c, top_node=b, base_node=a)], [qmp_sequences.stream(b, base_node='drive0')]
            steps = [qmp_sequences.sync(a), qmp_sequences.sync(b, a), qmp_sequences.sync(c, b), *between[n % 3]]
            ends += len(between[n % 3])
            steps += [('until', qmp_sequences.ENDED, ends), qmp_sequences.commit(c, base_node='drive0'), ('until', qmp_sequences.READY, n + 1),
                      *qmp_sequences.job('job-complete'), ('until', qmp_sequences.ENDED, ends + 1)]
            answers += play(client, d, steps, None)['answers']
            n, ends = n + 1, ends + 1
    except (Failed, OSError):
        if harness.finish(storm, timeout=60).rc:  # else the machine has ended, and all of it was right
            raise
    harness.note(f'{n} times')
    check(n >= 1, 'not once')
    same([answer for answer in answers if answer[1] != {}], [], 'the answers')
    failed = [event for event in client.events if event['event'] == 'BLOCK_JOB_COMPLETED' and 'error' in event['data']]
    same(failed, [], 'jobs')
    images.check_leaks_at_worst(top, 'qcow2')


@case('the end of a job tells which files the chain has lost by it')
def lost(d):
    chain(d)
    process, client, _ = start_ours(d, *(f'node-name={node}' for node in NODES))
    play(client, d, [qmp_sequences.sync('s1'), qmp_sequences.commit('s1', base_node='drive0'), qmp_sequences.READY, *qmp_sequences.job('job-complete'),
                     qmp_sequences.ENDED, qmp_sequences.stream('drive0', bottom='drive0'), ('until', qmp_sequences.ENDED, 2),
                     qmp_sequences.stream('drive0'), ('until', qmp_sequences.ENDED, 3)], None)
    told = [event['data'].get('x-dropped') for event in client.events if event['event'] == 'BLOCK_JOB_COMPLETED']
    same(told, [[f'{d}/s1.img'], None, [f'{d}/mid.img', f'{d}/base.img']], 'x-dropped')
    end(d, process)


def wait_for_state(d, state):
    deadline = time.monotonic() + harness.WAIT
    while (job := bp('ctl', f'{d}/c', 'info', '--json').json()).get('state') != state:
        check(time.monotonic() < deadline, f'waited in vain: {job}')
        time.sleep(0.05)


@case('ctl commit, complete and wait, of the plugin', 'plugin')
@case('ctl commit, complete and wait, of serve', 'serve', '--base')
def commit_by_ctl(d, which, *base):
    chain(d)
    if which == 'serve':
        server, front, _ = steered(d, f'--snapshot-dir={d}', f'{d}/top.img')
    else:
        server, _, _ = start_ours(d)
    bp('ctl', f'{d}/c', 'snapshot', f'{d}/s1.img')
    bp('ctl', f'{d}/c', 'commit', *(['--base=mid.img', '--verify'] if base else []), cwd=d)
    wait_for_state(d, 'waiting')
    read_back = bp('ctl', f'{d}/c', 'info', '--json').json()['bytes']['verified']
    check((read_back > 0) == bool(base), f'{read_back} bytes were read back')
    refused(1, ['commit'], 'ctl', f'{d}/c', 'snapshot', f'{d}/s2.img')
    bp('ctl', f'{d}/c', 'complete')
    same(bp('ctl', f'{d}/c', 'wait', '--json').json()['status'], 'completed', 'the end')
    refused(1, ['not found'], 'ctl', f'{d}/c', 'complete')
    if which == 'serve':
        over(server, front)
    else:
        end(d, server)
    images.qemu_io(f'{d}/{"mid" if base else "top"}.img', 'qcow2', 'read -P 3 0 64k')


if __name__ == '__main__':
    harness.main(workers=2)
