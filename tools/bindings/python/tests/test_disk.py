# SPDX-License-Identifier: MIT OR Apache-2.0
"""Disks: reading and writing, mapping, and every way to hold one wrongly."""
import errno
import gc

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
