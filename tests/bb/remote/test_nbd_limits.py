# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a server takes at once, and in which blocks, and how much it is asked: no engine, as in test_nbd_source.py."""
import time

import harness
from harness import MIB, case, check, same
from source_rig import Driver, crc, end, hostile, nbdkit, pause

URI = 'nbd+unix:///?socket='


def driver(d):
    return Driver(allow=f'nbd+unix:{d}')


@case('limits on the size of requests are kept')
def sizes(d):
    for block, fits in ((1, 4096, 65536), '1'), ((512, 4096, 65536), '512'), ((4096, 65536, 1 << 20), '4096'), (
            (65536, 65536, 65536), '65536'):
        server = hostile(f'{d}/s', '', block=','.join(map(str, block)))
        source = driver(d)
        same(source.open(f'{URI}{d}/s').split()[1], fits, f'block size of {block}')
        source.right(0, MIB)
        source.right(8 * MIB - 65536, 65536)
        same(source.extents(int(fits), 65536)[0], 0, 'extents')
        source.close()
        end(server)
    for block, size, words in ((512, 512, 1024), 8 * MIB, 'requests of 1024 bytes at most'), (
            (4096, 4096, 65536), 8 * MIB + 512, 'no multiple'):
        server = hostile(f'{d}/s', '', block=','.join(map(str, block)), size=size)
        source = driver(d)
        check(words in source.open(f'{URI}{d}/s', -95), f'{block}: no sentence')
        source.close()
        end(server)


@case('a server that comes back with other limits is the same disk, and they are kept from then on')
def other_sizes(d):
    was = (1, 4096, 32 << 20)
    for block in (512, 4096, 65536), (65536, 65536, 65536), (4096, 65536, 131072), was:
        server = hostile(f'{d}/s', '', block=','.join(map(str, was)))
        source = driver(d)
        source.open(f'{URI}{d}/s')
        end(server, f'{d}/s')
        source.wait('changed', 'reconnecting')
        source.say(f'read cut {MIB + 3} {MIB - 5} job')  # made for the old limits
        server = hostile(f'{d}/s', '', block=','.join(map(str, block)))
        same(source.answer('cut'), (0, crc(MIB + 3, MIB - 5)), f'{block}')
        for offset, length in (0, 1), (8 * MIB - 1, 1), (65535, 2), (3 * MIB + 4095, MIB), (4095, 8 * MIB - 4095):
            source.right(offset, length, 'guest')
        same(source.extents(4097, 70000)[0], 0, 'extents')
        same(source.state()['state'], 'connected', f'{block}')
        source.close()
        end(server, f'{d}/s')


@case('questions of any number wait for their turn, and all are answered')
def very_many(d):
    server = nbdkit(f'{d}/s', '--filter=pause', 'pattern', '64M', f'pause-control={d}/p')
    source = driver(d)
    source.open(f'{URI}{d}/s')
    pause(f'{d}/p', b'p')
    source.say(f'load l {70000 * 512} {70000 * 512} 512')
    time.sleep(1)
    pause(f'{d}/p', b'r')
    same(source.wait('load').split()[2], '0', '70,000 reads at once')
    source.close()
    end(server)


if __name__ == '__main__':
    harness.main(workers=2)
