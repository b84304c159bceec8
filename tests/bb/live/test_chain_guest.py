# SPDX-License-Identifier: MIT OR Apache-2.0
"""A Linux guest on blockpull serve, whose chain grows and shrinks by snapshots, compactions and commits while it writes,
and the server is killed: between them, in the middle of a job, of a snapshot, and of the turn at a commit's end.

What is done, in which order, and where it is cut, is drawn from BB_SEED; BB_DEEDS is how many compactions there are, and
at least as many snapshots. After each kill the next server is given what the rules of blockpull-serve(1) say: a new image as
soon as it has its name, and else the image that was the disk's. What a job says that the chain has lost is removed at once,
and after a kill whatever the chain doesn't name. Each round of the guest ends with reading back all that it has written. At
the end it boots anew and verifies, and qemu-img reads the image.
"""
import collections
import os
import random
import signal
import threading
import time

import guest_rig
import harness
import images
import qmp_rig
import vm
from harness import MIB, Failed, bp, case, check, note, same

N = 60             # requests of each worker in a round
DEEDS = int(os.environ.get('BB_DEEDS') or 6)
LATE = 300 + 40 * DEEDS
SLOW = 8 * MIB     # bytes a second of a job that is to be killed in the middle
BAD = 'FAIL', 'I/O error', 'panic', 'BUG'


# ---- moments to kill at -------------------------------------------------------------------------

class Killer:
    """Kills a server when it is time, from a thread of its own."""

    def __init__(self, process, moment):
        self.process, self.moment, self.killed, self.is_over = process, moment, False, False
        self.thread = threading.Thread(target=self.wait, daemon=True)
        self.thread.start()

    def wait(self):
        while not self.is_over and not self.moment():
            pass
        if not self.is_over:
            self.killed = True
            os.kill(self.process.pid, signal.SIGKILL)

    def end(self):
        """Whether it has killed: not any more from now on."""
        self.is_over = True
        self.thread.join()
        return self.killed


def after(seconds):
    until = time.monotonic() + seconds

    def moment():
        time.sleep(0.0005)
        return time.monotonic() >= until
    return moment


def never():
    time.sleep(0.001)


# ---- the chain ----------------------------------------------------------------------------------

class Disk:
    """A served chain, from the image down to base.raw, which is a template that nothing writes to."""

    def __init__(self, d, seed):
        self.d, self.dir, self.rng, self.n_made, self.counts = d, f'{d}/disks', random.Random(seed), 0, collections.Counter()
        os.mkdir(self.dir)
        os.rename(f'{d}/base.raw', f'{self.dir}/base.raw')
        images.overlay(self.path('disk'), 'base.raw')
        self.top, self.server, self.client = 'disk', guest_rig.Server(d), None
        self.chain = self.layers()

    def path(self, name):
        return f'{self.dir}/{name}.img'

    def layers(self):
        """As the files say it, without base.raw."""
        rows = images.qemu_img('info', '-U', '--backing-chain', '--output=json', self.path(self.top)).json()
        names = [os.path.basename(row['filename']) for row in rows]
        same(names.pop(), 'base.raw', 'the end of the chain')
        return [name.removesuffix('.img') for name in names]

    def start(self):
        self.chain = self.layers()
        for name in set(os.listdir(self.dir)) - {f'{name}.img' for name in self.chain} - {'base.raw'}:
            self.counts['files left over'] += 1
            os.unlink(f'{self.dir}/{name}')
        self.server.args = ('-q', f'--snapshot-dir={self.dir}', *(f'--node-name={name}' for name in [*self.chain, 'base']), self.path(self.top))
        self.server.start(harness.blockpull)
        self.client = qmp_rig.Qmp(self.server.control, self.server.process)

    def kill(self):
        self.server.end(signal.SIGKILL, 128 + 9)
        self.start_again()

    def start_again(self):
        self.counts['kills'] += 1
        self.start()
        self.server.wait_until_answered()

    # ---- what is done to it ---------------------------------------------------------------------

    def ask(self, verb, **arguments):
        answer = self.client.send({'execute': verb, 'arguments': {key.replace('_', '-'): value for key, value in arguments.items()}})
        same(answer, {'return': {}}, f'{verb} {arguments}, the chain being {self.chain}')

    def node(self, name):
        """Its name for clients: one that `ctl` has made has none of ours."""
        nodes = self.client.send({'execute': 'query-named-block-nodes'})['return']
        found = [node['node-name'] for node in nodes if node['drv'] != 'file' and os.path.basename(node['file']).split('.')[0] == name]
        same(len(found), 1, f'nodes of {name}: {nodes}')
        return found[0]

    def ended(self):
        """The job is over: what the chain has lost is not needed any more."""
        self.client.until('JOB_STATUS_CHANGE null')
        end = next(event for event in self.client.events if event['event'] == 'BLOCK_JOB_COMPLETED')
        check('error' not in end['data'], f'{end}, the chain being {self.chain}')
        for path in end['data'].get('x-dropped', []):
            os.unlink(path)

    def snapshot(self, cut):
        new = f's{self.n_made}'
        self.n_made += 1
        moment = {'': never, 'soon': after(self.rng.uniform(0, 0.1)), 'named': lambda: os.path.exists(self.path(new))}[cut]
        try:
            with self.killing(moment):
                if cut or self.rng.random() < 0.7:
                    self.ask('blockdev-snapshot-sync', node_name=self.node(self.top), snapshot_file=self.path(new), snapshot_node_name=new)
                else:
                    bp('ctl', self.server.control, 'snapshot', self.path(new))
        finally:
            was_made = os.path.exists(self.path(new))
            self.top = new if was_made else self.top
            self.counts[f'snapshots cut {"behind" if was_made else "before"} the new name'] += self.server.process.poll() is not None

    def slowly(self, cut):
        return {'speed': SLOW} if cut else {}

    def compact(self, cut):
        """A file in the middle takes all of some below it."""
        at = self.rng.randrange(1, len(self.chain) - 1)
        base = [*self.chain, 'base'][self.rng.randrange(at + 2, len(self.chain) + 1)]
        with self.killing(after(self.rng.uniform(0, 2)) if cut else never):
            self.ask('block-stream', job_id='j', device=self.node(self.chain[at]), base_node=self.node(base), **self.slowly(cut))
            self.ended()

    def commit(self, cut):
        if len(self.chain) > 2 and self.rng.random() < 0.4:
            self.commit_middle(cut)
        else:
            self.commit_image(cut)

    def commit_middle(self, cut):
        at = self.rng.randrange(1, len(self.chain) - 1)
        base = self.rng.randrange(at + 1, len(self.chain))
        with self.killing(after(self.rng.uniform(0, 2)) if cut else never):
            self.ask('block-commit', job_id='j', device=self.node(self.top), top_node=self.node(self.chain[at]),
                     base_node=self.node(self.chain[base]), **self.slowly(cut))
            self.ended()

    def commit_image(self, cut):
        base = self.chain[self.rng.randrange(1, len(self.chain))]
        with self.killing(after(self.rng.uniform(0, 2)) if cut == 'soon' else never):
            self.ask('block-commit', job_id='j', device=self.node(self.top), base_node=self.node(base), **self.slowly(cut == 'soon'))
            self.client.until('BLOCK_JOB_READY')
        time.sleep(self.rng.uniform(0, 0.3))  # the guest writes into both
        with self.killing(after(self.rng.uniform(0, 0.03)) if cut == 'named' else never):
            self.ask('job-complete', id='j')
            self.client.until('BLOCK_JOB_COMPLETED')
            self.top = base
            self.ended()

    def killing(self, moment):
        return Killing(self, moment)

    # ---- in any order ---------------------------------------------------------------------------

    def draw(self):
        """The next deed. More snapshots are made than were asked for where there is nothing to shrink."""
        left = {'snapshot': DEEDS - self.counts['snapshot'],
                'compact': DEEDS - self.counts['compact'] if len(self.chain) > 2 else 0,
                'commit': max(DEEDS // 4, 1) - self.counts['commit'] if len(self.chain) > 1 else 0}
        bag = [kind for kind, n in left.items() for _ in range(n)]
        return self.rng.choice(bag) if bag else 'snapshot'

    def is_done(self):
        return self.counts['compact'] >= DEEDS and self.counts['snapshot'] >= DEEDS and self.counts['commit'] >= max(DEEDS // 4, 1)

    def one(self):
        self.client.events.clear()  # of jobs that were
        kind, cut = self.draw(), self.rng.choice(['', '', 'soon', 'named'])
        before = len(self.chain)
        try:
            getattr(self, kind)(cut)
        except Died:
            self.start_again()
            self.counts[f'kills in a {kind}'] += 1
            # What was cut may have come to its end all the same.
            self.counts[kind] += len(self.chain) != before
            self.counts[f'{kind}s cut behind their end'] += len(self.chain) != before
            return
        self.counts[kind] += 1
        self.chain = self.layers()
        check((len(self.chain) > before) == (kind == 'snapshot') and len(self.chain) != before, f'{kind}: {before} files, then {self.chain}')
        if self.rng.random() < 0.15:
            self.kill()


class Died(Exception):
    """The server was killed, as was to be."""


class Killing:
    """What is done inside of it ends with Died if the server was killed meanwhile, however that looked."""

    def __init__(self, disk, moment):
        self.disk, self.killer = disk, Killer(disk.server.process, moment)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if not self.killer.end():
            return False
        same(harness.finish(self.disk.server.process).rc, 128 + 9, 'the server')
        if error is None or isinstance(error, (Failed, OSError)):
            raise Died
        return False


# ---- the guest ----------------------------------------------------------------------------------

class Console(threading.Thread):
    """Reads what the guest says up to a word, meanwhile."""

    def __init__(self, running, word):
        super().__init__(daemon=True)
        self.running, self.word, self.rounds, self.told, self.wrong = running, word, 0, 0, None
        self.start()

    def run(self):
        try:
            for line in self.running.lines_until(self.word):
                check(not any(bad in line for bad in BAD), f'the guest says: {line}')
                self.rounds += line.startswith('round ')
                self.told += line.startswith(('at ', 'verified '))
        except Failed as failed:
            self.wrong = failed

    def look(self):
        if self.wrong:
            raise self.wrong

    def wait_for(self, lines):
        """Until the guest has gone on by so much, as long as it goes on at all."""
        wanted, deadline = self.told + lines, harness.clock() + harness.WAIT
        while self.told < wanted and self.is_alive():
            check(harness.clock() < deadline, 'the guest stands still')
            time.sleep(0.005)
        self.look()

    def ended(self):
        self.join()
        self.look()


def act(disk, console):
    """Whatever fails, the guest may have said why before."""
    try:
        while not disk.is_done():
            disk.one()
            console.wait_for(disk.rng.randrange(4))
    except (Failed, OSError):
        console.look()
        raise


@case('a Linux guest writes while its chain grows and shrinks, and the server is killed')
def grows_and_shrinks(d):
    guest = guest_rig.program(d)
    vm.files(*vm.MODULES)
    seed, _ = guest_rig.drawn(d, guest)
    template = guest_rig.digest(f'{d}/base.raw')
    disk = Disk(d, seed)
    disk.start()
    running = guest_rig.machine(d, guest, f'{seed} {N} longer', late=LATE)
    console = Console(running, 'WRITTEN')
    disk.server.wait_until_answered()
    act(disk, console)
    bp('ctl', disk.server.control, 'resize', '+2M')
    console.ended()
    verified = Console(running, 'VERIFIED')
    verified.wait_for(1)  # QEMU 7.2 does not start a disk again whose server goes while the firmware drives it
    disk.kill()
    verified.ended()
    running.ended()
    disk.server.end(signal.SIGTERM, 0)
    note(f'{dict(disk.counts)}; {console.rounds} rounds of {N} requests of {guest_rig.WORKERS} workers; {len(disk.chain)} files at the end')
    same(guest_rig.digest(f'{disk.dir}/base.raw'), template, 'the template')
    for name in disk.chain[1:]:
        images.check_leaks_at_worst(disk.path(name), 'qcow2')
    os.rename(f'{disk.dir}/base.raw', f'{d}/base.raw')
    os.symlink('../base.raw', f'{disk.dir}/base.raw')
    guest_rig.judge(d, guest, disk.path(disk.top), seed, N, 2 * MIB, console.rounds)


if __name__ == '__main__':
    harness.main(workers=1)
