# SPDX-License-Identifier: MIT OR Apache-2.0
"""--fd-map: the command is given descriptors, and the names lead nowhere.

It runs in an empty directory, so that a name that was opened would not be found. That the library looks at no
name at all is shown by tests/api/test_syscalls.c.
"""
import os

import facts
import harness
import images
from harness import FAILED, LOCKED, MIB, REFUSED, USAGE, bp, case, check, refused, same
from images import overlay, qemu_img, raw_image


class Chain:
    """top.img over sub/mid.img over base.raw, open, in a place that none of the names leads to."""

    def __init__(self, d, top_flags=os.O_RDWR):
        self.there, self.empty = f'{d}/there', f'{d}/empty'
        os.makedirs(f'{self.there}/sub')
        os.mkdir(self.empty)
        raw_image(f'{self.there}/sub/base.raw', 4 * MIB)
        overlay(f'{self.there}/sub/mid.img', 'base.raw')
        qemu_img('create', '-f', 'qcow2', '-b', 'sub/mid.img', '-F', 'qcow2', f'{self.there}/top.img')
        self.fds = [os.open(f'{self.there}/{name}', flags) for name, flags in (
            ('top.img', top_flags), ('sub/mid.img', os.O_RDONLY), ('sub/base.raw', os.O_RDONLY))]
        self.map = [f'--fd-map={name}={fd}' for name, fd in zip(('top.img', 'sub/mid.img', 'base.raw'), self.fds)]

    def run(self, verb, *args, fds=None, **options):
        return bp(verb, *(self.map if fds is None else fds), *args, cwd=self.empty, pass_fds=self.fds, **options)

    def refused(self, rc, words, *args):
        return refused(rc, words, *args, cwd=self.empty, pass_fds=self.fds)

    def path(self, name):
        return f'{self.there}/{name}'


@case('a pull: uring', '--io=uring')
@case('a pull: threads', '--io=threads')
def pull(d, io):
    chain = Chain(d)
    before = os.listdir(chain.there)
    chain.run('pull', *facts.possible([io]), '--verify', 'top.img')
    images.judge_pulled(chain.path('top.img'), 'qcow2', chain.path('sub/base.raw'))
    same(sorted(os.listdir(chain.there)), sorted(before), 'files')
    same(os.listdir(chain.empty), [], 'files where the command ran')


@case('each verb that opens a chain')
def verbs(d):
    chain = Chain(d)
    told = chain.run('info', '--chain', '--json', 'top.img').json()
    same([layer['filename'] for layer in told], ['top.img', 'sub/mid.img', 'sub/base.raw'], 'the chain')
    want = chain.run('hash', 'top.img').out.split()[0]
    same(want, bp('hash', '--format=raw', chain.path('sub/base.raw')).out.split()[0], 'the hash')
    check('"depth": 2' in chain.run('map', '--json', 'top.img').out.replace('":', '": ').replace('  ', ' '), 'no base')
    chain.run('measure', 'top.img')
    chain.run('pull', '--dry-run', 'top.img')
    chain.run('flatten', 'top.img', f'{d}/out.img')
    same(bp('hash', f'{d}/out.img').out.split()[0], want, 'the flattened disk')
    other = os.open(chain.path('sub/base.raw'), os.O_RDONLY)
    bp('verify', *chain.map, f'--fd-map=b={other}', '-F', 'raw', 'top.img', 'b', cwd=chain.empty,
       pass_fds=chain.fds + [other])
    same(os.listdir(chain.empty), [], 'files where the command ran')


@case('a pull to a base, whose new name is made of those that were given')
def base(d):
    chain = Chain(d)
    chain.run('pull', '--base=sub/base.raw', 'top.img')
    same(bp('info', '--json', chain.path('top.img')).json()['backing-filename'], 'sub/base.raw', 'the new name')
    bp('hash', chain.path('top.img'))


@case('what is not in the map, and what no image asks for')
def holes_in_it(d):
    chain = Chain(d)
    top, mid, low = chain.map
    chain.refused((REFUSED, FAILED), ['base.raw', 'not given'], 'pull', top, mid, 'top.img')
    chain.refused((REFUSED, FAILED), ['top.img', 'not given'], 'pull', mid, low, 'top.img')
    more = os.open('/dev/null', os.O_RDONLY)
    chain.fds.append(more)
    for verb in ('pull', 'info', 'map', 'hash', 'measure'):
        args = ['--chain'] if verb == 'info' else []
        chain.refused(FAILED, ['never.img', '--fd-map'], verb, *args, *chain.map, f'--fd-map=never.img={more}', 'top.img')
    chain.refused(FAILED, ['sub/mid.img', '--fd-map'], 'info', *chain.map, 'top.img')  # without --chain
    chain.refused(FAILED, ['neither a regular file'], 'pull', top, mid, f'--fd-map=base.raw={more}', 'top.img')
    same(bp('info', '--chain', '--json', chain.path('top.img')).json()[0]['backing-filename'], 'sub/mid.img', 'the link')


@case('a descriptor that can\'t be written')
def read_only(d):
    chain = Chain(d, os.O_RDONLY)
    chain.refused(FAILED, ['top.img', 'reading and writing'], 'pull', *chain.map, 'top.img')
    chain.run('map', 'top.img')


@case('command lines that make no sense')
def usage(d):
    chain = Chain(d)
    fd = chain.fds[0]
    for words, args in ((['NAME=N'], ['--fd-map=x']), (['NAME=N'], [f'--fd-map={fd}']), (['number'], ['--fd-map=a=b']),
                        (['number'], ['--fd-map=a=']), (['not open'], ['--fd-map=a=999']), (['number'], ['--fd-map=a=-1']),
                        (['twice'], [f'--fd-map=a={fd}', f'--fd-map=a={chain.fds[1]}']),
                        (['descriptor'], [f'--fd-map=a={fd}', f'--fd-map=b={fd}']),
                        (['one image'], [chain.map[0], 'b.img']), (['--allow-backing'], [chain.map[0], '--allow-backing=any'])):
        chain.refused(USAGE, words, 'pull', *args, 'top.img')


@case('the variable for names does not count')
def variable(d):
    chain = Chain(d)
    chain.run('map', 'top.img', env=dict(harness.environment(), BLOCKPULL_ALLOW_BACKING='none'))


@case('locks are taken, and a loop is found')
def locked(d):
    chain = Chain(d)
    held = harness.start(harness.blockpull, 'pull', '--bandwidth=1M', '--burst=64K', '--progress=json', *chain.map, 'top.img',
                         cwd=chain.empty, pass_fds=chain.fds)
    check(harness.lines_of(held, lambda line: True), 'the pull ended at once')
    refused(LOCKED, ['in use'], 'pull', chain.path('top.img'))
    os.kill(held.pid, 15)
    harness.finish(held)
    for fd in chain.fds:
        os.close(fd)
    qemu_img('rebase', '-u', '-f', 'qcow2', '-b', '../top.img', '-F', 'qcow2', chain.path('sub/mid.img'))
    chain.fds = [os.open(chain.path('top.img'), os.O_RDWR), os.open(chain.path('sub/mid.img'), os.O_RDONLY)]
    again = os.open(chain.path('top.img'), os.O_RDONLY)
    chain.fds.append(again)
    chain.refused(FAILED, ['loop'], 'pull', f'--fd-map=top.img={chain.fds[0]}', f'--fd-map=sub/mid.img={chain.fds[1]}',
                  f'--fd-map=../top.img={again}', 'top.img')


harness.main()
