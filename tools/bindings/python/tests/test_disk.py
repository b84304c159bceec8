# SPDX-License-Identifier: MIT OR Apache-2.0
"""Disks: reading and writing, mapping, and every way to hold one wrongly."""
import errno
import gc
import os
import threading
import time

import pytest

import blockpull


def test_the_guest_reads_and_writes_while_the_chain_is_pulled(chain, engine):
    content = bytearray(chain.content)
    with engine.open(chain.top, guest_io=True) as disk:
        job = disk.pull(bandwidth=8 << 20)
        for offset in range(0, disk.size, 1 << 20):
            assert disk.read(offset, 4096) == content[offset:offset + 4096]
            disk.write(offset + 8192, b"\x5a" * 4096)
            content[offset + 8192:offset + 12288] = b"\x5a" * 4096
        disk.write_zeroes(2 << 20, 65536, unmap=True)
        content[2 << 20:(2 << 20) + 65536] = bytes(65536)
        disk.flush()
        job.wait()
        assert disk.read(0, disk.size) == content
    chain.content = bytes(content)
    chain.judge()


def test_readinto_fills_what_it_is_given(chain, engine):
    with engine.open(chain.top, guest_io=True, read_only=True) as disk:
        room = bytearray(5000)
        disk.readinto((1 << 20) - 1000, room)
        assert room == chain.content[(1 << 20) - 1000:(1 << 20) + 4000]
        with pytest.raises((BufferError, TypeError)):
            disk.readinto(0, b"can't be written")


def test_one_request_has_several_buffers(chain, engine):
    with engine.open(chain.top, guest_io=True) as disk:
        disk.writev(6 << 20, [b"\x11" * 512, bytearray(b"\x22" * 4096), memoryview(b"\x33" * 1)], fua=True)
        rooms = [bytearray(1), bytearray(511), bytearray(4097)]
        disk.readv(6 << 20, rooms)
        assert b"".join(rooms) == b"\x11" * 512 + b"\x22" * 4096 + b"\x33"
        assert (disk.stats.read.requests, disk.stats.write.requests) == (1, 1)
        disk.readv(0, [])
        with pytest.raises((BufferError, TypeError)):
            disk.readv(0, [bytearray(1), b"can't be written"])
        with pytest.raises(blockpull.Error) as caught:
            disk.readv(0, [bytearray(1)] * 1025)
        assert caught.value.errno == errno.EINVAL


def test_a_guest_asks_what_a_range_is(chain, engine):
    with engine.open(chain.top, guest_io=True) as disk:
        own, below = (disk.block_status(offset, 4096) for offset in (5 << 20, 1 << 20))
        assert [(e.start, e.length, e.depth, e.data) for e in own] == [(5 << 20, 4096, 0, True)]
        assert [(e.start, e.length, e.depth, e.data) for e in below] == [(1 << 20, 4096, 1, True)]
        with pytest.raises(blockpull.Error) as caught:
            disk.block_status(disk.size, 1)
        assert caught.value.errno == errno.EINVAL


def test_what_was_asked_is_counted(chain, engine):
    with engine.open(chain.top, guest_io=True) as disk:
        disk.read(0, 4096)
        disk.write(8192, b"x" * 512)
        with pytest.raises(blockpull.Error):
            disk.write(disk.size, b"x")
        disk.flush()
        stats = disk.stats
    assert (stats.read.requests, stats.read.bytes, stats.read.errors) == (1, 4096, 0)
    assert (stats.write.requests, stats.write.bytes, stats.write.refused) == (1, 512, 1)
    assert stats.write_end == 8192 + 512
    assert stats.flush.requests == 1 and stats.discard.requests == 0
    assert sum(stats.read.latency) == 1 and stats.read.total_ns > 0


def test_extents_cover_the_disk(chain, engine):
    with engine.open(chain.top, read_only=True) as disk:
        extents = list(disk.extents())
        assert sum(extent.length for extent in extents) == disk.size
        own = next(extent for extent in extents if extent.start <= 5 << 20 < extent.start + extent.length)
        assert own.depth == 0 and own.data and own.offset is not None
        assert disk.find(chain.base) == 1


def test_refusals_are_the_librarys_sentences(chain, engine, tmp_path):
    with pytest.raises(blockpull.Error) as caught:
        engine.open(tmp_path / "none.qcow2")
    assert caught.value.errno == errno.ENOENT and "none.qcow2" in str(caught.value)
    with engine.open(chain.top, read_only=True) as disk:
        with pytest.raises(blockpull.Error) as caught:
            disk.pull()
        assert caught.value.errno == errno.EROFS
    with engine.open(chain.top, guest_io=True) as disk:
        with pytest.raises(blockpull.Error) as caught:
            disk.read(disk.size, 1)
        assert caught.value.errno == errno.EINVAL


def test_a_base_elsewhere_is_refused_with_its_remedy(chain, engine, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    chain.base.rename(away / "base.raw")
    top = tmp_path / "far.qcow2"
    blockpull.create(top, backing=away / "base.raw", backing_format="raw")
    sub = tmp_path / "sub"
    sub.mkdir()
    top = top.rename(sub / "far.qcow2")
    with pytest.raises(blockpull.Error) as caught:
        engine.open(top)
    assert caught.value.remedy is blockpull.Remedy.ALLOW_BACKING
    with engine.open(top, allow_backing=[caught.value.remedy_name]) as disk:
        assert disk.depth == 2
    with pytest.raises(TypeError):
        engine.open(top, allow_backing=str(away))


def test_what_is_closed_says_so(chain):
    engine = blockpull.Engine()
    disk = engine.open(chain.top)
    job = disk.pull(start_paused=True)
    disk.close()
    disk.close()
    with pytest.raises(ValueError):
        disk.size
    with pytest.raises(ValueError):
        job.info
    engine.close()
    engine.close()
    with pytest.raises(ValueError):
        engine.open(chain.top)
    assert chain.has_link()


def test_closing_waits_for_what_other_threads_have_called(chain):
    for i in range(16):
        with blockpull.Engine() as engine:
            disk = engine.open(chain.top, guest_io=True)
            job, ends = disk.pull(bandwidth=1), []

            def call(function):
                with pytest.raises(ValueError) as caught:
                    while True:
                        function()
                ends.append(str(caught.value))

            calls = [lambda: list(disk.extents())] * 3 + [lambda: list(job.progress(0.001)), lambda: disk.warning]
            threads = [threading.Thread(target=call, args=(function,)) for function in calls]
            for thread in threads:
                thread.start()
            time.sleep(0.001 * i)
            if i % 2:
                disk.close()
            engine.close()
            for thread in threads:
                thread.join()
            assert len(ends) == 5 and all(end.endswith("is closed") for end in ends)
    chain.judge()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_did_not_open_is_forgotten_silently():
    for wrong in {"bandwidth": -1}, {"bandwith": 1}:
        with pytest.raises((OverflowError, TypeError)):
            blockpull.Engine(**wrong)
        gc.collect()


def test_a_disk_that_is_forgotten_does_no_harm(chain):
    engine = blockpull.Engine()
    engine.open(chain.top).pull()
    gc.collect()
    engine.take_events()
    engine.close()
    del engine
    gc.collect()
    chain.judge()


def test_names_with_a_zero_byte_are_refused(engine):
    with pytest.raises(ValueError):
        engine.open("a\0b")


def test_formats_have_names(chain, engine):
    with pytest.raises(ValueError, match="no format"):
        engine.open(chain.top, format="vmdk")
    with engine.open(chain.top, format="qcow2", read_only=True) as disk:
        assert disk.size == len(chain.content)


def opener(chain, asked, refused=()):
    """What opens the chain's files by its own names, and writes down what it was asked for."""
    files = {str(chain.top): chain.top, str(chain.base): chain.base, "image": chain.top, "base.raw": chain.base}

    def open_file(request):
        asked.append(request)
        if request.name in refused:
            raise PermissionError(errno.EACCES, "not this one")
        writes = request.need is blockpull.OpenNeed.WRITE
        return os.open(files[request.name], os.O_RDWR if writes else os.O_RDONLY)
    return open_file


def test_a_program_opens_the_files(chain, engine):
    asked = []
    with engine.open(chain.top, guest_io=True, open_file=opener(chain, asked)) as disk:
        assert disk.read(0, disk.size) == chain.content
        disk.pull().wait()
    opened = [request for request in asked if request.need is not blockpull.OpenNeed.LOCK]
    assert [request.need for request in opened] == [blockpull.OpenNeed.WRITE, blockpull.OpenNeed.READ]
    assert [request.recorded for request in opened] == [None, "base.raw"]
    assert {request.what for request in asked} == {blockpull.OpenWhat.IMAGE}
    assert [layer.virtual_size for layer in blockpull.info("image", open_file=opener(chain, asked))] == [8 << 20]
    assert blockpull.measure("image", open_file=opener(chain, asked)).guest_size == 8 << 20
    chain.judge()


def test_a_file_that_a_program_refuses(chain, engine):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(blockpull.Error) as caught:
        engine.open(chain.top, open_file=opener(chain, [], refused=[str(chain.base)]))
    assert caught.value.errno == errno.EACCES and "base.raw" in str(caught.value)
    with pytest.raises(KeyError):
        engine.open("unknown", open_file=opener(chain, []))
    with pytest.raises(TypeError, match="descriptor"):
        engine.open(chain.top, open_file=lambda request: None)
    with pytest.raises(blockpull.Error):
        engine.open(chain.top, open_file=opener(chain, []), allow_backing=[chain.base])
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_what_goes_wrong_with_the_locks_descriptor_is_told(chain, engine):
    plain = opener(chain, [])

    def open_file(request):
        if request.need is blockpull.OpenNeed.LOCK:
            raise RuntimeError("a mistake in the program")
        return plain(request)
    with pytest.raises(RuntimeError):
        engine.open(chain.top, open_file=open_file)
    engine.open(chain.top).close()


def test_a_disk_becomes_longer(chain, engine):
    size = len(chain.content)
    with engine.open(chain.top, guest_io=True) as disk:
        disk.resize(size + (1 << 20))
        assert disk.size == size + (1 << 20)
        disk.write(size + 512, b"x" * 512)
        with pytest.raises(blockpull.Error) as caught:
            disk.resize(size)
        assert caught.value.errno == errno.ENOTSUP and "shorter" in str(caught.value)
        job = disk.pull(start_paused=True)
        with pytest.raises(blockpull.Error) as caught:
            disk.resize(size + (2 << 20))
        assert caught.value.errno == errno.EBUSY
        job.resume()
        job.wait()
    chain.content += bytes(512) + b"x" * 512 + bytes((1 << 20) - 1024)
    chain.judge()


def test_another_has_the_image_while_a_disk_rests(chain, engine):
    with engine.open(chain.top, guest_io=True) as disk:
        disk.write(0, b"a" * 512)
        disk.inactivate()
        disk.inactivate()
        with pytest.raises(blockpull.Error) as caught:
            disk.read(0, 512)
        assert caught.value.errno == errno.EPERM
        with blockpull.Engine() as other, other.open(chain.top, guest_io=True) as there:
            assert there.read(0, 512) == b"a" * 512
            there.write(512, b"b" * 512)
            for wait in True, False:
                began = time.monotonic()
                with pytest.raises(blockpull.Error) as caught:
                    disk.activate(wait=wait)
                assert caught.value.errno == errno.EBUSY
                assert not wait or time.monotonic() - began >= 0.9  # seconds that a lock is waited for
        disk.activate(wait=False)
        assert disk.read(0, 1024) == b"a" * 512 + b"b" * 512
    chain.content = b"a" * 512 + b"b" * 512 + chain.content[1024:]
    chain.judge()


def test_two_disks_get_new_overlays_at_once(chain, engine, tmp_path):
    second = tmp_path / "second.qcow2"
    blockpull.create(second, 1 << 20)
    over, second_over = tmp_path / "over.qcow2", tmp_path / "second-over.qcow2"
    with engine.open(chain.top, guest_io=True) as disk, engine.open(second, guest_io=True) as other:
        with pytest.raises(blockpull.Error) as caught:
            engine.snapshot({disk: over, other: second})  # which is there
        assert caught.value.errno == errno.EEXIST and not over.exists()
        assert disk.depth == 2
        engine.snapshot({disk: over, other: second_over}, cluster_size=4096)
        assert [disk.layer_path(depth) for depth in range(disk.depth)] == [str(over), str(chain.top), str(chain.base)]
        disk.write(0, b"a" * 512)
        other.write(0, b"b" * 512)
        assert [layer.cluster_size for layer in blockpull.info(over, flags=blockpull.DiskFlags.FORCE_SHARE)] == [4096, 65536, 512]
    chain.judge()  # as it was
    chain.top, chain.content = over, b"a" * 512 + chain.content[512:]
    chain.judge()
    with engine.open(second_over, guest_io=True, read_only=True) as other:
        assert other.read(0, 1024) == b"b" * 512 + bytes(512)


def test_a_name_that_gets_longer_while_it_is_asked_for(chain, engine, tmp_path, replaced):
    def layer_path(library_path, *arguments):
        length = library_path(*arguments)
        if disk.depth == 2:
            disk.snapshot(tmp_path / "a_longer_name_than_before.qcow2")
        return length

    with engine.open(chain.top, guest_io=True) as disk, replaced("blockpull.disk", "bpull_disk_layer_path", layer_path):
        assert disk.layer_path() == str(tmp_path / "a_longer_name_than_before.qcow2")


def test_a_disk_gets_two_overlays_by_one_call(chain, engine, tmp_path):
    one, two = tmp_path / "one.qcow2", tmp_path / "two.qcow2"
    with engine.open(chain.top, guest_io=True) as disk:
        engine.snapshot([(disk, one), (disk, two)])
        assert [disk.layer_path(depth) for depth in range(3)] == [str(two), str(one), str(chain.top)]
        disk.write(0, b"a" * 512)
    chain.judge()  # as it was
    chain.top = one
    chain.judge()
    chain.top, chain.content = two, b"a" * 512 + chain.content[512:]
    chain.judge()


def test_a_snapshot_into_an_overlay_that_the_program_opens(chain, engine, tmp_path):
    over, asked = tmp_path / "over.qcow2", []
    blockpull.create(over, backing="top.qcow2", backing_format="qcow2")
    opens = opener(chain, asked)

    def open_file(request):
        if request.name == str(over):
            return os.open(over, os.O_RDWR)
        if request.recorded == "top.qcow2":
            return os.open(chain.top, os.O_RDONLY)
        return opens(request)

    def mistaken(request):
        raise RuntimeError("a mistake in the program")
    with engine.open(chain.top, guest_io=True, open_file=opens) as disk:
        with pytest.raises(blockpull.Error) as caught:
            disk.snapshot(tmp_path / "made.qcow2")
        assert caught.value.errno == errno.ENOTSUP
        with pytest.raises(RuntimeError):
            disk.snapshot(over, existing=True, open_file=mistaken)
        assert disk.depth == 2
        disk.snapshot(over, existing=True, open_file=open_file)
        assert disk.depth == 3
        disk.write(0, b"a" * 512)
    chain.top, chain.content = over, b"a" * 512 + chain.content[512:]
    chain.judge()
