# SPDX-License-Identifier: MIT OR Apache-2.0
"""Jobs on a disk of which the server got descriptors only, and when it gives those back."""
import facts
import handed_rig
import harness
import images
import qmp_sequences
import serve_rig
from handed_rig import count, hand, made, refused_with, snapshot, start
from harness import Skip, case, check, same
from qmp_play import play
from qmp_rig import Qmp, chain
from qmp_sequences import commit
from serve_rig import over

WAITING = 64  # descriptors that no request has named


def run(client, d, *steps):
    """Each step is answered, and each job comes to its end."""
    answers = play(client, d, [*steps, qmp_sequences.ENDED], None)['answers']
    same([answer for answer in answers if answer[1] != {}], [], 'the answers')
    check(not any('error' in event['data'] for event in client.events), client.events)
    client.events.clear()


def overlays(client, d, front, *names):
    """Each above the one before, with a sector of its own."""
    below, node = 'top', 'drive0'
    for n, name in enumerate(names):
        made(d, name, below)
        same(hand(client, f'/disks/{name}.img', f'{d}/{name}.img'), {'return': {}}, 'getfd')
        same(snapshot(client, name, node), {'return': {}}, 'the snapshot')
        front.do('write', 0, 8 * (n + 1), 0x42 + n, answer=0)
        below = node = name


ACTIVE = [qmp_sequences.READY, *qmp_sequences.job('job-complete')]


@case('an active commit, and one below the top; compactions; a stream')
@case('commits, compactions and a stream, without a sandbox', '--no-sandbox')
@case('commits, compactions and a stream, with threads', '--io=threads')
def jobs(d, *args):
    chain(d)
    server, front, client = start(d, *args, writable=handed_rig.NAMES)
    before = count(server)
    overlays(client, d, front, 's1', 's2', 's3')
    run(client, d, commit('s3', top_node='s2', base_node='s1'))
    front.do('read', 0, 16, answer=0x43)
    run(client, d, commit('s3', base_node='drive0'), *ACTIVE)
    for n in range(3):
        front.do('read', 0, 8 * (n + 1), answer=0x42 + n)
    front.do('write', 0, 40, 0x61, answer=0)
    same(count(server), before, 'descriptors, when the overlays are gone')
    run(client, d, qmp_sequences.stream('#layer1'))
    same(images.image_info(f'{d}/mid.img', '-U').get('backing-filename'), None, 'the link')
    run(client, d, qmp_sequences.stream('drive0'))
    check(count(server) < before, 'what the chain has lost is open still')
    front.do('read', 0, 40, answer=0x61)
    over(server, front)
    same(images.image_check(f'{d}/top.img', 'qcow2'), 0, 'check')
    images.qemu_io(f'{d}/top.img', 'qcow2', 'read -P 3 32k 4k', 'read -P 0x42 4k 4k',
                   'read -P 0x61 20k 4k', 'read -P 2 1M 64k', 'read -P 1 2M 1M')


@case('the image is committed while a client asks all the time, and the one below it has the next snapshot')
def asked(d):
    chain(d)
    server, front, client = start(d, writable=('top', 'mid'))
    for (name, arguments), told in (commit('drive0', base_node='#layer1'), qmp_sequences.READY), (ACTIVE[1], qmp_sequences.ENDED):
        same(client.send({'execute': name, 'arguments': arguments}), {'return': {}}, name)
        while told not in client.words():
            client.send({'execute': 'query-block-jobs'})
    made(d, 's1', 'mid')
    same(hand(client, '/disks/s1.img', f'{d}/s1.img'), {'return': {}}, 'getfd')
    same(snapshot(client, 's1', '#layer1'), {'return': {}}, 'the snapshot')
    front.do('write', 0, 8, 0x42, answer=0)
    front.do('read', 0, 0, answer=3)
    over(server, front)
    same(images.image_check(f'{d}/s1.img', 'qcow2'), 0, 'check')
    images.qemu_io(f'{d}/s1.img', 'qcow2', 'read -P 3 0 4k', 'read -P 0x42 4k 4k', 'read -P 2 1M 64k', 'read -P 1 2M 1M')


@case('a file that was given for reading only is named before anything changes')
def read_only(d):
    chain(d)
    server, front, client = start(d)
    files = images.Untouched(*(f'{d}/{name}.img' for name in handed_rig.NAMES))
    for step, name in (commit('drive0'), 'base'), (commit('drive0', base_node='#layer1'), 'mid'), (qmp_sequences.stream('#layer1'), 'mid'):
        refused_with(client.send({'execute': step[0], 'arguments': step[1]}), f'/disks/{name}.img', 'reading only', 'nothing was changed')
    files.verify('by what was refused')
    over(server, front)


@case('those that no request names have a bound, are closed by closefd, and go with their client')
def waiting(d):
    chain(d)
    server, front, client = start(d)
    other = Qmp(f'{d}/c', server)
    made(d, 's1', 'top')
    before = count(server)
    answers = [hand(client, f'n{n}', f'{d}/base.img') for n in range(1000)]
    same(answers[:WAITING], [{'return': {}}] * WAITING, 'the first')
    for answer in answers[WAITING], answers[-1]:
        refused_with(answer, 'closefd')
    same(count(server), before + WAITING, 'descriptors')
    same(hand(client, 'n3', f'{d}/mid.img'), {'return': {}}, 'one in the place of another')
    same(count(server), before + WAITING, 'descriptors')
    for name, words in ('n9999', ["'n9999' not found"]), ('/disks/top.img', ['in use']):
        refused_with(client.send({'execute': 'closefd', 'arguments': {'fdname': name}}), *words)
    same(client.send({'execute': 'closefd', 'arguments': {'fdname': 'n5'}}), {'return': {}}, 'closefd')
    same(count(server), before + WAITING - 1, 'descriptors')
    same(hand(client, '/disks/s1.img', f'{d}/s1.img'), {'return': {}}, 'there is room again')
    same(snapshot(client, 's1', 'drive0'), {'return': {}}, 'the snapshot')
    client.socket.close()
    same(other.send({'execute': 'query-jobs'}), {'return': []}, 'another client')
    front.do('write', 0, 0, 0x31, answer=0)
    check(count(server) <= before + 3, 'they are kept')  # the new image's: ours, the library's, its header's
    over(server, front)
    images.qemu_io(f'{d}/s1.img', 'qcow2', 'read -P 0x31 0 512')


@case('a node that is taken away gives its descriptor back')
def node(d):
    chain(d)
    server, front, client = start(d)
    made(d, 's1', 'top')
    before = count(server)
    same(hand(client, '/disks/s1.img', f'{d}/s1.img'), {'return': {}}, 'getfd')
    same(client.send({'execute': 'blockdev-add', 'arguments': {'driver': 'qcow2', 'node-name': 'n', 'backing': None, 'file': {
        'driver': 'file', 'filename': '/disks/s1.img'}}}), {'return': {}}, 'blockdev-add')
    refused_with(client.send({'execute': 'closefd', 'arguments': {'fdname': '/disks/s1.img'}}), 'in use')
    same(client.send({'execute': 'blockdev-del', 'arguments': {'node-name': 'n'}}), {'return': {}}, 'blockdev-del')
    same(count(server), before, 'descriptors')
    over(server, front)


@case('closefd where files are opened by their names')
def names(d):
    if facts.emulated():
        raise Skip('qemu-user has no Landlock, which keeps a server in its directories')
    chain(d)
    server = handed_rig.by_names(d)
    client = Qmp(f'{d}/c', server)
    refused_with(client.send({'execute': 'closefd', 'arguments': {'fdname': 'x'}}), "File descriptor named 'x' not found")
    serve_rig.end(server)


if __name__ == '__main__':
    harness.main(workers=2)
