#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The arithmetic of bench/fleet_sim.py, as TAP: cases whose answer is known on paper.

usage: fleet_sim.py PATH_OF_THE_SIMULATION"""
import importlib.util
import json
import pathlib
import subprocess
import sys
import traceback

sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location('fleet_sim', sys.argv[1])
sim = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sim)

# One of each, without latency, in units in which all is 1.
PLAIN = {'hosts': 1, 'images': 1, 'bases': 1, 'image-size': 1, 'origin': 1, 'host': 100, 'disk': 100, 'round-trip': 0, 'in-flight': 1,
         'rack': 100, 'rack-hosts': 10, 'keep': 4}


def arguments(**changes):
    values = PLAIN | {name.replace('_', '-'): value for name, value in changes.items()}
    return sim.parser().parse_args([f'--{name}={value}' for name, value in values.items()])


def result(way, **changes):
    return sim.simulate(arguments(**changes), way)


def near(got, wanted):
    assert abs(got - wanted) <= 1e-6 * max(1, abs(wanted)), f'got {got}, wanted {wanted}'


def two_share_a_server():
    server, ends = sim.Server(1, 9), []
    server.add(0, 10, 1, 'first')
    server.add(5, 10, 2, 'second')
    while server.transfers:
        ends.append((server.next_end(), server.finish()))
    near(ends[0][0], 15)  # 5 alone, and 5 at half the speed
    near(ends[1][0], 20)
    assert [name for _, name in ends] == ['first', 'second'], ends
    near(server.total, 20)


def no_transfer_is_faster_than_its_cap():
    server = sim.Server(10, 2)
    for i in range(4):
        server.add(0, 10, i, i)
    near(server.next_end(), 5)
    server.add(0, 10, 9, 9)
    server.add(0, 10, 8, 8)
    near(server.next_end(), 6)  # six of them share 10


def the_oldest_is_forgotten_first():
    kept = sim.Kept(2)
    kept.keep('a')
    kept.keep('b')
    assert kept.ask('a')
    kept.keep('c')
    assert not kept.ask('b') and kept.ask('a') and kept.ask('c')


def the_least_limit_counts():
    near(sim.host_cap(arguments(host=5, disk=7)), 5)
    near(sim.host_cap(arguments(host=7, disk=5)), 5)
    near(sim.host_cap(arguments(round_trip=2, in_flight=8)), 4)


def one_host_takes_what_the_slowest_part_takes():
    near(result('none', image_size=6, origin=9, host=3)['seconds'], 2)
    near(result('none', image_size=6, origin=2, host=3)['seconds'], 3)
    near(result('none', image_size=6, origin=9, round_trip=1, in_flight=2)['seconds'], 4)  # a round trip, then 2 a second


def many_hosts_wait_for_the_origin():
    r = result('none', hosts=50, images=3, image_size=4, origin=10, host=5)
    near(r['seconds'], 50 * 3 * 4 / 10)
    near(r['origin-bytes'], 600)
    near(r['origin-busy'], 1)
    near(r['image-seconds-median'], 20)


def few_hosts_do_not():
    r = result('none', hosts=2, images=3, image_size=4, origin=100, host=2)
    near(r['seconds'], 6)
    near(r['origin-busy'], 24 / 600)


def a_host_cache_reads_each_base_once():
    r = result('host', hosts=10, images=5, image_size=2, origin=10, disk=4)
    near(r['origin-bytes'], 20)
    near(r['seconds'], 2 + 4 * 0.5)  # 10 at once share 10; then from the disk


def a_host_cache_of_one_base_forgets():
    a = arguments(hosts=1, images=4, image_size=1, origin=1, keep=1, bases=2)
    fleet = sim.Fleet(a, 'host')
    fleet.plans = [[0, 1, 0, 1]]
    near(fleet.run().result()['origin-bytes'], 4)
    fleet = sim.Fleet(a, 'host')
    fleet.plans = [[0, 0, 1, 1]]
    near(fleet.run().result()['origin-bytes'], 2)


def a_rack_cache_reads_each_base_once():
    r = result('rack', hosts=30, images=5, image_size=2, origin=6, rack=100, rack_hosts=10)
    near(r['origin-bytes'], 3 * 2)  # three racks
    # The first image: three fetches share 6; the next four: ten hosts share 100, 2 bytes each.
    near(r['seconds'], 1 + 4 * 0.2)


def a_rack_cache_may_be_the_bottleneck():
    near(result('rack', hosts=10, images=1, image_size=3, origin=100, rack=2)['seconds'], 15)


def a_ramp_spreads_the_hosts():
    r = result('none', hosts=10, image_size=1, origin=1, ramp=100)
    near(r['seconds'], 90 + 1)
    near(r['image-seconds-p99'], 1)


def no_bytes_are_lost():
    for way in sim.WAYS:
        a = arguments(hosts=57, images=7, bases=5, image_size=3, origin=11, host=2, disk=2, round_trip=0.1, rack=9, keep=2, ramp=3)
        fleet = sim.Fleet(a, way).run()
        assert len(fleet.seconds) == 57 * 7 and not fleet.fetches, way
        total = fleet.origin.total / 3
        near(total, round(total))
        if way == 'none':
            near(total, 57 * 7)
        near(sum(rack.total for rack in fleet.racks), 57 * 7 * 3 if way == 'rack' else 0)


def the_same_again_is_the_same():
    argv = [sys.executable, sys.argv[1], '--hosts=300', '--json']
    first, second = (subprocess.run(argv, check=True, capture_output=True, text=True).stdout for _ in range(2))
    assert first == second and len(json.loads(first)) == 3
    other = subprocess.run([*argv, '--seed=2', '--ramp=9'], check=True, capture_output=True, text=True).stdout
    assert other != first


def what_it_advises():
    def said(**changes):
        a = arguments(**changes)
        return ' '.join(sim.advice(a, {way: sim.simulate(a, way) for way in sim.WAYS}))
    crowded = said(hosts=100, images=10, origin=10, host=5, disk=5, rack=50)
    assert 'feeds 2 hosts' in crowded and 'each host pays' in crowded and 'each rack pays' in crowded, crowded
    lonely = said(hosts=2, images=1, origin=1000, host=1, disk=1, rack_hosts=1)
    assert lonely.count('does not pay') == 2, lonely
    # Each host has one image: its own cache is of no use, its rack's is.
    single = said(hosts=100, images=1, origin=10, host=5, disk=5, rack=50)
    assert 'each host does not pay' in single and 'each rack pays' in single, single


def the_document_shows_what_it_prints():
    page = (pathlib.Path(sys.argv[1]).parent / '../docs/fleet.md').read_text()
    said = subprocess.run([sys.executable, sys.argv[1]], check=True, capture_output=True, text=True).stdout
    assert '$ python3 bench/fleet_sim.py\n' + said + '```' in page, said


CASES = [two_share_a_server, no_transfer_is_faster_than_its_cap, the_oldest_is_forgotten_first, the_least_limit_counts,
         one_host_takes_what_the_slowest_part_takes, many_hosts_wait_for_the_origin, few_hosts_do_not,
         a_host_cache_reads_each_base_once, a_host_cache_of_one_base_forgets, a_rack_cache_reads_each_base_once,
         a_rack_cache_may_be_the_bottleneck, a_ramp_spreads_the_hosts, no_bytes_are_lost, the_same_again_is_the_same,
         what_it_advises, the_document_shows_what_it_prints]


def main():
    bad = False
    print(f'1..{len(CASES)}')
    for number, function in enumerate(CASES, 1):
        title = function.__name__.replace('_', ' ')
        try:
            function()
            print(f'ok {number} - {title}')
        except Exception:  # pylint: disable=broad-except
            bad = True
            print(f'not ok {number} - {title}\n# ' + traceback.format_exc().replace('\n', '\n# '))
    sys.exit(bad)


if __name__ == '__main__':
    main()
