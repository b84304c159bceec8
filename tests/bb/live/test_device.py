# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a frontend is told of the device that `serve` is: features, queues, sizes, serial number; and --fd that listens.

tests/serve/cases.c has what QEMU's own test of a vhost-user disk asks."""
import socket
import struct

import harness
import images
from harness import case, check, same
from serve_rig import FIRST, SIZE, Front, disk, end, frontend, hear, over, running, say, serving

GET_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, GET_CONFIG = 1, 16, 17, 24
PROTOCOL_MQ, PROTOCOL_CONFIG = 0, 9
SEG_MAX, RO, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, MQ, DISCARD, WRITE_ZEROES = 2, 5, 6, 9, 10, 11, 12, 13, 14
IOERR = 1  # a request's status


def told(d):
    """The features, the number of queues, and what struct virtio_blk_config says, by name."""
    with socket.socket(socket.AF_UNIX) as front:
        front.connect(f'{d}/s')
        say(front, GET_FEATURES)
        features = struct.unpack('<Q', hear(front)[1])[0]
        say(front, SET_PROTOCOL_FEATURES, struct.pack('<Q', 1 << PROTOCOL_MQ | 1 << PROTOCOL_CONFIG))
        say(front, GET_QUEUE_NUM)
        queues = struct.unpack('<Q', hear(front)[1])[0]
        say(front, GET_CONFIG, struct.pack('<III', 0, 60, 0) + bytes(60))
        fields = struct.unpack_from('<QIIHBBIBBHIBBHIII', hear(front)[1], 12)
    names = ('capacity', 'size_max', 'seg_max', 'cylinders', 'heads', 'sectors', 'blk_size', 'physical_block_exp', 'alignment_offset',
             'min_io_size', 'opt_io_size', 'writeback', 'unused', 'num_queues', 'max_discard_sectors', 'max_discard_seg',
             'discard_sector_alignment')
    return features, queues, dict(zip(names, fields))


@case('queues, sizes and serial number are those that were asked for')
def asked(d):
    server = serving(d, '--queues=3', '--serial=disk-7', disk(d))
    features, queues, config = told(d)
    for bit in (SEG_MAX, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, MQ, DISCARD, WRITE_ZEROES):
        check(features >> bit & 1, f'feature {bit}')
    check(not features >> RO & 1, 'read-only')
    same((queues, config['num_queues']), (3, 3), 'queues')
    same((config['capacity'], config['seg_max'], config['blk_size']), (SIZE // 512, 126, 512), 'sizes')
    # Blocks of 4 KiB, clusters of 64 KiB.
    same((config['physical_block_exp'], config['min_io_size'], config['opt_io_size'], config['discard_sector_alignment']),
         (3, 8, 128, 128), 'topology')
    same(config['writeback'], 1, 'the cache')
    front = Front(d, '-q', 3)
    front.runs()
    front.do('id', 2, answer='disk-7')
    over(server, front)


@case('without a name the serial number is the beginning of the image\'s')
def unnamed(d):
    server, front = running(d, disk(d))
    front.do('id', 0, answer='top.img')
    over(server, front)


@case('a read-only disk says so, and refuses what a guest writes all the same')
def read_only(d):
    top = disk(d)
    before = images.Untouched(top)
    server = serving(d, '--read-only', top)
    features, _, _ = told(d)
    same([features >> bit & 1 for bit in (RO, DISCARD, WRITE_ZEROES)], [1, 0, 0], 'features')
    front = Front(d)
    front.runs()
    front.do('write', 0, 0, 7, answer=IOERR)
    front.do('read', 0, 0, answer=FIRST)
    over(server, front)
    before.verify('by the guest')


@case('what QEMU\'s own test asks of a disk: layouts, ranges that make no sense, EVENT_IDX, a queue that there is not, eight queues')
def qemu_cases(d):
    top = disk(d)
    server = serving(d, '--queues=8', top)
    frontend('cases', '-f', FIRST, '-q', 8, '-n', SIZE, f'{d}/s')
    said = end(server)
    check('SET_VRING_ADDR) is refused: there is no such queue' in said.err, f'the server says: {said.err}')
    same(images.image_check(top, 'qcow2'), 0, 'qemu-img check')


@case('--fd takes a socket that listens, and frontends come and go')
def listening(d):
    top = disk(d)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f'{d}/s')
        sock.listen()
        server = harness.start(harness.blockpull, 'serve', '-q', f'--fd={sock.fileno()}', top, pass_fds=[sock.fileno()])
    for byte in 1, 2:
        front = Front(d)
        front.runs()
        front.do('write', 0, 0, byte, answer=0)
        front.do('read', 0, 0, answer=byte)
        front.over()
    end(server)


if __name__ == '__main__':
    harness.main()
