# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the driver of a sandbox sends (qmp_sandbox.py, qmp_chained.py): qemu-storage-daemon, the nbdkit plugin and `blockpull serve` must
answer alike."""
import os
import signal

import harness
import images
import qmp_chained
import qmp_play
import qmp_sandbox
import serve_rig
from harness import case, same
from qmp_play import NODES, play
from qmp_rig import Qmp, chain, end, start_ours
from qmp_sequences import sync, transaction

qmp_play.register({**qmp_sandbox.SANDBOX, **qmp_chained.CHAINED})


def served(d):
    """The server, its frontend, and a client."""
    chain(d)
    server, front = serve_rig.running(d, '-q', f'--control={d}/c', f'--snapshot-dir={d}', *(f'--node-name={node}' for node in NODES), f'{d}/top.img')
    return server, front, Qmp(f'{d}/c', server)


def refuse_all(d, client):
    """Nothing is left of a chain of which one image is refused."""
    nodes, files = qmp_play.nodes(client), sorted(os.listdir(d))
    for why, *steps in qmp_chained.UNDONE:
        said = play(client, d, [transaction(sync('s1'), *steps)], None)['answers']
        same(said, [['transaction', f'GenericError: {why}']], f'{steps}')
        same([qmp_play.nodes(client), sorted(os.listdir(d))], [nodes, files], f'what is there after {steps}')


@case('a chain of which one image is refused leaves none: serve')
def refused_by_serve(d):
    server, front, client = served(d)
    front.do('write', 0, 0, 0x41, answer=0)
    refuse_all(d, client)
    front.do('write', 0, 8, 0x42, answer=0)
    serve_rig.over(server, front)
    images.qemu_io(f'{d}/top.img', 'qcow2', 'read -P 0x41 0 4k', 'read -P 0x42 4k 4k')


@case('a chain of which one image is refused leaves none: the plugin')
def refused_by_plugin(d):
    chain(d)
    process, client, _ = start_ours(d, *(f'node-name={node}' for node in NODES))
    refuse_all(d, client)
    end(d, process)


@case('a chain by one transaction, and the server is killed: what the machine was told is done is there')
def killed(d):
    server, front, client = served(d)
    front.do('write', 0, 0, 0x51, answer=0)
    same(play(client, d, [transaction(sync('s1'), sync('s2', 's1', format='qed'), sync('s3', 's2'))], None)['answers'], [['transaction', {}]], 'the answer')
    front.do('write', 0, 8, 0x52, answer=0)
    front.dies()
    serve_rig.end(server, signal.SIGKILL, 137)
    images.settle(f'{d}/s3.img')
    images.qemu_io(f'{d}/s3.img', 'qcow2', 'read -P 0x51 0 4k', 'read -P 0x52 4k 4k', 'read -P 3 8k 4k')
    for name, fmt in ('s2', 'qed'), ('s1', 'qcow2'), ('top', 'qcow2'):
        images.qemu_io(f'{d}/{name}.img', fmt, 'read -P 0x51 0 4k', 'read -P 3 4k 4k')
    same([images.image_info(f'{d}/{name}.img')['full-backing-filename'] for name in ('s3', 's2', 's1')],
         [f'{d}/{name}.img' for name in ('s2', 's1', 'top')], 'the links')


if __name__ == '__main__':
    harness.main(workers=2)
