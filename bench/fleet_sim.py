#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""When do caches pay? Many hosts pull from one origin, in a model of it.

usage: fleet_sim.py [--hosts N] [--images N] [--bases N] [--image-size BYTES] [--origin BYTES/S] [--host BYTES/S] ...

A fluid model: an origin, and each rack's cache, is a server that shares its bandwidth equally among the transfers that it
has, none of which is faster than its host can take (processor sharing with a cap). A host pulls its images one after
another; each reads image-size bytes of one of the bases, drawn from a seed. What a host can take is the least of its
network, its disk, and its window: in-flight bytes a round trip.

Three ways are compared. none: all bytes come from the origin. host: a host keeps the last bases that it has read, and
reads them from its own disk. rack: a cache for each rack keeps them, and fetches a base once, however many ask for it
meanwhile; a host is served while the fetch goes on, but can't end before it.

A simulation of packets was rejected: it would need numbers that are not known, and the bottleneck is the same. What the
model leaves out: failures, other traffic, the origin's own disks, and that requests of one transfer are not all alike.
The same arguments give the same numbers.
"""
import argparse
import collections
import heapq
import json
import random
import sys

MIB, GIB = 1 << 20, 1 << 30
WAYS = ('none', 'host', 'rack')


class Server:
    """Shares a bandwidth equally. All transfers are alike but in length, so one number, what each has got since the
    server began, tells for all of them when they end."""

    def __init__(self, bandwidth, cap):
        self.bandwidth, self.cap = bandwidth, cap
        self.served = self.now = self.total = 0.0
        self.transfers = []  # heap of (served at its end, number, what to call then)

    def rate(self):
        return min(self.cap, self.bandwidth / len(self.transfers)) if self.transfers else 0.0

    def advance(self, now):
        got = self.rate() * (now - self.now)
        self.served += got
        self.total += got * len(self.transfers)
        self.now = now

    def add(self, now, n_bytes, number, done):
        self.advance(now)
        heapq.heappush(self.transfers, (self.served + n_bytes, number, done))

    def next_end(self):
        """When the next transfer ends if none is added."""
        if not self.transfers:
            return float('inf')
        return self.now + max(0.0, self.transfers[0][0] - self.served) / self.rate()

    def finish(self):
        """Ends the transfer whose time has come. Returns what to call."""
        self.advance(self.next_end())
        end, _, done = heapq.heappop(self.transfers)
        self.served = max(self.served, end)
        return done


class Kept(collections.OrderedDict):
    """Names, at most so many: the one that was asked for longest ago goes first."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def ask(self, name):
        if name in self:
            self.move_to_end(name)
            return True
        return False

    def keep(self, name):
        self[name] = True
        self.move_to_end(name)
        while len(self) > self.limit:
            self.popitem(last=False)


def host_cap(a):
    """Bytes a second that one host can take."""
    window = a.in_flight / a.round_trip if a.round_trip else float('inf')
    return min(a.host, a.disk, window)


class Fleet:
    def __init__(self, arguments, way):
        self.a, self.way, self.n_events = arguments, way, 0
        cap = host_cap(arguments)
        # A rack's cache fetches with as many requests as the network takes.
        self.origin = Server(arguments.origin, cap if way != 'rack' else arguments.rack)
        n_racks = -(-arguments.hosts // arguments.rack_hosts) if way == 'rack' else 0
        self.racks = [Server(arguments.rack, cap) for _ in range(n_racks)]
        self.rack_has = [Kept(arguments.keep) for _ in range(n_racks)]
        self.fetches = {}    # (rack, base): what waits for the fetch
        self.host_has = [Kept(arguments.keep) for _ in range(arguments.hosts)] if way == 'host' else []
        self.timers, self.seconds, self.ends = [], [], 0.0
        self.plans = self.draw()

    def draw(self):
        rng = random.Random(self.a.seed)
        return [[rng.randrange(self.a.bases) for _ in range(self.a.images)] for _ in range(self.a.hosts)]

    def at(self, when, call):
        self.n_events += 1
        heapq.heappush(self.timers, (when, self.n_events, call))

    def transfer(self, server, now, done):
        self.n_events += 1
        server.add(now, self.a.image_size, self.n_events, done)

    def begin(self, host, at, now):
        if at == len(self.plans[host]):
            return
        base = self.plans[host][at]

        def done(end):
            self.seconds.append(end - now)
            self.ends = max(self.ends, end)
            if self.host_has:
                self.host_has[host].keep(base)
            self.begin(host, at + 1, end)
        start = now + self.a.round_trip
        if self.host_has and self.host_has[host].ask(base):
            self.at(now + self.a.image_size / self.a.disk, done)
        elif self.racks:
            self.at(start, lambda when: self.ask_rack(host, base, when, done))
        else:
            self.at(start, lambda when: self.transfer(self.origin, when, done))

    def ask_rack(self, host, base, now, done):
        rack = host // self.a.rack_hosts
        if self.rack_has[rack].ask(base):
            self.transfer(self.racks[rack], now, done)
            return
        left = [2]  # the fetch and the transfer

        def one(end):
            left[0] -= 1
            if not left[0]:
                done(end)
        if (rack, base) not in self.fetches:
            self.fetches[rack, base] = []

            def fetched(end):
                self.rack_has[rack].keep(base)
                for waiting in self.fetches.pop((rack, base)):
                    waiting(end)
            self.at(now + self.a.round_trip, lambda when: self.transfer(self.origin, when, fetched))
        self.fetches[rack, base].append(one)
        self.transfer(self.racks[rack], now, one)

    def run(self):
        for host in range(self.a.hosts):
            when = self.a.ramp * host / self.a.hosts
            self.at(when, lambda now, host=host: self.begin(host, 0, now))
        ends = []  # heap of (when, server's number): only the entry that is true when it comes counts
        servers = [self.origin, *self.racks]
        if len(servers) == 1:
            self.run_one()
            return self
        known = [float('inf')] * len(servers)
        self.watched, numbers = set(), {id(server): i for i, server in enumerate(servers)}
        for server in servers:
            self.watch(server, numbers)
        while True:
            while self.watched:
                i = self.watched.pop()
                known[i] = servers[i].next_end()
                if known[i] != float('inf'):
                    heapq.heappush(ends, (known[i], i))
            while ends and ends[0][0] != known[ends[0][1]]:
                heapq.heappop(ends)
            if self.timers and (not ends or self.timers[0][0] <= ends[0][0]):
                when, _, call = heapq.heappop(self.timers)
                call(when)
            elif ends:
                when, i = heapq.heappop(ends)
                known[i] = float('inf')
                self.watched.add(i)
                servers[i].finish()(when)
            else:
                return self

    def watch(self, server, numbers):
        """Notes each change, so that only servers that changed are asked again for their next end."""
        add, i = server.add, numbers[id(server)]

        def noted(*arguments):
            add(*arguments)
            self.watched.add(i)
        server.add = noted

    def run_one(self):
        while self.timers or self.origin.transfers:
            end = self.origin.next_end()
            if self.timers and self.timers[0][0] <= end:
                when, _, call = heapq.heappop(self.timers)
                call(when)
            else:
                self.origin.finish()(end)

    def result(self):
        ordered = sorted(self.seconds)
        return {
            'way': self.way,
            'seconds': self.ends,
            'origin-bytes': round(self.origin.total),
            'origin-busy': self.origin.total / (self.a.origin * self.ends) if self.ends else 0.0,
            'image-seconds-median': ordered[len(ordered) // 2],
            'image-seconds-p99': ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
        }


def simulate(arguments, way):
    return Fleet(arguments, way).run().result()


def advice(a, results):
    """Sentences, from the numbers of all three ways."""
    none, host, rack = (results[way] for way in WAYS)
    enough = a.origin / host_cap(a)
    yield (f'The origin feeds {enough:.0f} hosts at their full speed; there are {a.hosts}.')
    for name, cached in ('host', host), ('rack', rack):
        saved = 1 - cached['origin-bytes'] / none['origin-bytes']
        faster = none['seconds'] / cached['seconds']
        pays = 'pays' if faster >= 1.1 else 'saves traffic only' if saved >= 0.1 else 'does not pay'
        yield f'A cache for each {name} {pays}: {faster:.1f} times as fast, {saved:.0%} less from the origin.'


def parser():
    p = argparse.ArgumentParser(description='Many hosts and one origin: when do caches pay?')
    p.add_argument('--hosts', type=int, default=10000)
    p.add_argument('--images', type=int, default=8, help='that each host pulls, one after another (8)')
    p.add_argument('--bases', type=int, default=4, help='of which each image has one (4)')
    p.add_argument('--image-size', type=float, default=2 * GIB, help='bytes that an image reads (2 GiB)')
    p.add_argument('--origin', type=float, default=12.5e9, help='bytes a second of the origin (100 Gbit/s)')
    p.add_argument('--host', type=float, default=1.25e9, help='bytes a second of a host\'s network (10 Gbit/s)')
    p.add_argument('--disk', type=float, default=400 * MIB, help='bytes a second of a host\'s disk (400 MiB/s)')
    p.add_argument('--round-trip', type=float, default=0.001, help='seconds (0.001)')
    p.add_argument('--in-flight', type=float, default=16 * MIB, help='bytes that a pull has in flight (16 MiB)')
    p.add_argument('--rack', type=float, default=5e9, help='bytes a second of a rack\'s cache (40 Gbit/s)')
    p.add_argument('--rack-hosts', type=int, default=40, help='hosts of a rack (40)')
    p.add_argument('--keep', type=int, default=4, help='bases that a cache keeps (4)')
    p.add_argument('--ramp', type=float, default=0, help='seconds within which the hosts begin (0)')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--json', action='store_true')
    return p


def main():
    arguments = parser().parse_args()
    results = {way: simulate(arguments, way) for way in WAYS}
    if arguments.json:
        json.dump(list(results.values()), sys.stdout, indent=2)
        print()
        return
    print(f'{"cache":<8}{"all done":>12}{"from origin":>16}{"origin busy":>13}{"an image":>12}{"99 %":>12}')
    for way, r in results.items():
        print(f'{way:<8}{r["seconds"]:>10.0f} s{r["origin-bytes"] / GIB:>12.0f} GiB{r["origin-busy"]:>12.0%}'
              f' {r["image-seconds-median"]:>10.1f} s{r["image-seconds-p99"]:>10.1f} s')
    for sentence in advice(arguments, results):
        print(sentence)


if __name__ == '__main__':
    main()
