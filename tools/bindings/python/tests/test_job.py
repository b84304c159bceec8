# SPDX-License-Identifier: MIT OR Apache-2.0
"""Jobs: their ends, their progress, and what they leave behind."""
import contextlib
import errno
import gc
import threading
import time

import pytest

import blockpull


def test_a_pull_ends_and_the_image_stands_alone(chain, engine):
    with engine.open(chain.top) as disk:
        assert disk.depth == 2
        assert [disk.layer_path(0), disk.layer_path(1)] == [str(chain.top), str(chain.base)] and disk.dropped == []
        last = disk.pull().wait()
        assert last.state is blockpull.JobState.CONCLUDED and last.status is blockpull.JobStatus.COMPLETED
        assert last.copied_bytes == 2 << 20
        assert disk.depth == 1 and disk.dropped == [str(chain.base)]
        with pytest.raises(IndexError):
            disk.layer_path(1)
    chain.base.unlink()
    chain.judge()


def test_progress_never_falls_and_comes_to_the_end(chain, engine):
    with engine.open(chain.top) as disk:
        seen = list(disk.pull(bandwidth=4 << 20).progress(interval=0.05))
    assert len(seen) > 3  # half a second at that rate
    assert [p.cur for p in seen] == sorted(p.cur for p in seen)
    assert seen[-1].fraction == 1
    chain.judge()


def test_an_aborted_job_keeps_the_link(chain, engine):
    with engine.open(chain.top) as disk:
        job = disk.pull(bandwidth=1)
        job.abort()
        with pytest.raises(blockpull.JobCanceled):
            job.wait()
    assert chain.has_link()
    chain.judge()


def test_a_failed_job_raises_the_librarys_sentence(chain, engine):
    with engine.open(chain.top) as disk:
        job = disk.pull(start_paused=True)
        chain.base.write_bytes(b"another disk altogether" * 4096)
        # Before it rests it makes the image durable, and looks at the base: it may have failed by now.
        with contextlib.suppress(blockpull.Error):
            job.resume()
        with pytest.raises(blockpull.JobFailed) as caught:
            job.wait()
        last = job.info
    assert (last.error, last.error_was_io, last.error_was_read) == (errno.ESTALE, False, False)
    assert caught.value.errno == errno.ESTALE
    assert "base.raw" in str(caught.value)
    assert chain.has_link()


def test_a_job_that_is_over_says_so(chain, engine):
    with engine.open(chain.top) as disk:
        job = disk.pull()
        job.wait()
        for steer in (job.pause, job.resume, job.abort, job.finalize, lambda: job.set_speed(0),
                      lambda: job.set_rates(iops=1)):
            with pytest.raises(blockpull.Error, match="the job is over") as caught:
                steer()
            assert caught.value.errno == errno.ENOENT


def test_waiting_has_a_limit(chain, engine):
    with engine.open(chain.top) as disk:
        job = disk.pull(start_paused=True)
        with pytest.raises(TimeoutError):
            job.wait(0.05)
        assert job.info.state is blockpull.JobState.PAUSED
        job.resume()
        job.wait()
    chain.judge()


def test_the_link_stays_until_finalize(chain, engine):
    with engine.open(chain.top) as disk:
        job = disk.pull(manual_finalize=True)
        for progress in job.progress(0.01):
            if progress.state is blockpull.JobState.WAITING:
                assert chain.has_link()
                job.finalize()
                break
        job.wait()
    assert not chain.has_link()


def test_jobs_follow_each_other_on_one_disk(chain, engine):
    with engine.open(chain.top) as disk:
        first = disk.pull(bandwidth=1)
        first.abort()
        with pytest.raises(blockpull.JobCanceled):
            first.wait()
        disk.pull(verify=True).wait()
        assert disk.pull().wait().copied_bytes == 0
    chain.judge()


def test_a_second_job_is_refused_while_one_runs(chain, engine):
    with engine.open(chain.top) as disk:
        job = disk.pull(start_paused=True)
        with pytest.raises(blockpull.Error) as caught:
            disk.pull()
        assert caught.value.errno == errno.EBUSY
        job.resume()
        job.wait()


def test_what_a_job_would_be_refused_for_is_asked_first(chain, engine, tmp_path):
    before = chain.top.read_bytes()
    with engine.open(chain.top, read_only=True) as disk:
        disk.check_job()
        disk.check_job(base=chain.base)
        for wrong in {"base": tmp_path / "none"}, {"top": tmp_path / "none"}, {"compression_level": 3}:
            with pytest.raises(blockpull.Error) as caught:
                disk.check_job(**wrong)
            assert caught.value.errno == errno.EINVAL
        with pytest.raises(blockpull.Error) as caught:
            disk.check_job(blockpull.JobType.COMMIT)
        assert caught.value.errno == errno.EROFS
        assert disk.depth == 2
    with engine.open(chain.top) as disk:
        disk.check_job(blockpull.JobType.COMMIT, keep=True)
        assert chain.top.read_bytes() == before
        job = disk.pull(start_paused=True)
        with pytest.raises(blockpull.Error) as caught:
            disk.check_job()
        assert caught.value.errno == errno.EBUSY
        job.resume()
        job.wait()


def test_several_threads_wait_for_jobs_of_their_own(tmp_path, engine):
    base = tmp_path / "base.raw"
    base.write_bytes(bytes(range(256)) * 4096)
    tops = [tmp_path / f"top{i}.qcow2" for i in range(6)]
    for top in tops:
        blockpull.create(top, backing="base.raw", backing_format="raw")
    ends = []

    def pull(top):
        with engine.open(top) as disk:
            ends.append(disk.pull().wait().copied_bytes)

    threads = [threading.Thread(target=pull, args=(top,)) for top in tops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [1 << 20] * 6


def test_a_job_stays_itself_when_the_next_one_runs(chain, engine):
    with engine.open(chain.top) as disk:
        first = disk.pull(bandwidth=1)
        first.abort()
        with pytest.raises(blockpull.JobCanceled):
            first.wait()
        second = disk.pull(start_paused=True)
        assert first.info.status is blockpull.JobStatus.CANCELED
        with pytest.raises(blockpull.JobCanceled):
            first.wait(0)
        with pytest.raises(blockpull.Error, match="the job is over"):
            first.abort()
        assert second.info.state is not blockpull.JobState.CONCLUDED
        second.resume()
        assert second.wait(float("inf")).status is blockpull.JobStatus.COMPLETED


def test_a_job_ends_while_the_next_one_starts(chain, engine, replaced):
    def start(library_start, *arguments):
        first.abort()
        soon(first, lambda info: info.state is blockpull.JobState.CONCLUDED)
        return library_start(*arguments)

    with engine.open(chain.top) as disk:
        first = disk.pull(start_paused=True)
        with pytest.raises(blockpull.Error):
            disk.pull()
        with replaced("blockpull.disk", "bpull_job_start", start):
            second = disk.pull()
        with pytest.raises(blockpull.JobCanceled):
            first.wait(timeout=10)
        assert second.wait(timeout=10).status is blockpull.JobStatus.COMPLETED
    chain.judge()


def test_an_event_is_used_while_another_thread_closes_its_disk(chain, engine, replaced):
    disks = [engine.open(chain.top)]
    soon(disks[0].pull(), lambda info: info.state is blockpull.JobState.CONCLUDED)

    def close():
        disks.pop().close()
        gc.collect()
    closing = threading.Thread(target=close)

    def process(library_process, *arguments):
        n = library_process(*arguments)
        if n:  # before they are used
            closing.start()
            closing.join(0.2)
        return n
    with replaced("blockpull.engine", "bpull_engine_process", process):
        engine.take_events()
        closing.join()
    with engine.open(chain.top) as disk:
        assert disk.depth == 1


def test_what_a_job_has_told_is_read_while_the_next_one_starts(tmp_path, engine):
    base = tmp_path / "base.raw"
    base.write_bytes(bytes(1 << 20))
    for i in range(10):
        top = tmp_path / f"top{i}.qcow2"
        blockpull.create(top, backing="base.raw", backing_format="raw")
        with engine.open(top) as disk:
            seen, done = set(), threading.Event()

            def look():
                while not done.is_set():
                    seen.update(disk.dropped)
            thread = threading.Thread(target=look)
            thread.start()
            for _ in range(4):
                disk.pull().wait()
            done.set()
            thread.join()
            assert seen <= {str(base)}


def test_a_limit_on_requests_is_kept_and_changed(chain, engine):
    with engine.open(chain.top) as disk:
        job = disk.pull(iops=1)
        with pytest.raises(TimeoutError):
            job.wait(0.3)
        assert job.info.iops == 1 and job.info.n_requests <= 2
        job.set_rates(iops=0)
        last = job.wait()
    assert last.iops == 0 and last.n_requests > 2
    chain.judge()


def test_a_pull_is_done_within_its_time(chain, engine):
    with engine.open(chain.top) as disk:
        job = disk.pull(within=1.5)
        seen = list(job.progress(0.1))
    assert seen[0].within_ns == seen[0].deadline_ns == 1_500_000_000
    assert any(p.needed_rate and p.limit >= p.needed_rate for p in seen)
    assert seen[-1].elapsed_ns > 1_000_000_000
    chain.judge()


def soon(job, is_so):
    """The engine takes up what is changed in its next round."""
    deadline = time.monotonic() + 20
    while not is_so(job.info) and time.monotonic() < deadline:
        time.sleep(0.005)
    return job.info


def test_rates_change_while_it_runs(chain, engine):
    with engine.open(chain.top, guest_io=True) as disk:
        job = disk.pull(start_paused=True, min_rate=1 << 20, guest_p99=0.005)
        info = job.info
        assert (info.min_rate, info.guest_p99_ns, info.within_ns) == (1 << 20, 5_000_000, 0)
        job.set_rates(within=3600, min_rate=0)
        info = soon(job, lambda info: info.within_ns)
        assert (info.min_rate, info.guest_p99_ns, info.within_ns) == (0, 5_000_000, 3600 * 10**9)
        assert info.is_late is False
        job.set_rates(guest_p99=0, within=0)
        info = soon(job, lambda info: not info.within_ns)
        assert (info.guest_p99_ns, info.within_ns) == (0, 0)
        with pytest.raises(ValueError):
            job.set_rates(within=-1)
        job.resume()
        job.wait()
        with pytest.raises(blockpull.Error) as caught:
            job.set_rates(iops=1)
    assert caught.value.errno == errno.ENOENT


def test_what_is_wanted_first_is_copied_first(chain, engine):
    with engine.open(chain.top) as disk:
        job = disk.pull(first=[(2 << 20, 65536), (1 << 20, 65536)], bandwidth=1 << 19)
        soon(job, lambda info: info.copied_bytes > 3 << 16)  # runs take turns
        job.abort()
        with pytest.raises(blockpull.JobCanceled):
            job.wait()
        extents = list(disk.extents())
    assert any(e.depth == 0 and e.start <= 2 << 20 < e.start + e.length for e in extents)
    chain.judge()


def test_two_jobs_read_what_they_share_once(tmp_path, engine):
    base = tmp_path / "base.raw"
    base.write_bytes(bytes(range(256)) * 4096)
    disks = []
    for i in range(2):
        blockpull.create(tmp_path / f"top{i}.qcow2", backing="base.raw", backing_format="raw")
        disks.append(engine.open(tmp_path / f"top{i}.qcow2"))
    jobs = [disk.pull(bandwidth=1 << 20) for disk in disks]
    ends = [job.wait() for job in jobs]
    assert [end.source_bytes + end.shared_bytes for end in ends] == [1 << 20] * 2
    assert sum(end.source_bytes for end in ends) < 2 << 20
    for disk in disks:
        disk.close()


def three(chain, tmp_path):
    """An overlay more on the chain, with something of its own."""
    over = tmp_path / "over.qcow2"
    blockpull.create(over, backing="top.qcow2", backing_format="qcow2")
    with blockpull.Engine() as engine, engine.open(over, guest_io=True) as disk:
        disk.write(0, b"o" * 512)
    return over, b"o" * 512 + chain.content[512:]


def test_a_backing_file_is_pulled(chain, engine, tmp_path):
    over, content = three(chain, tmp_path)
    with engine.open(over) as disk:
        last = disk.pull(top=chain.top).wait()
        assert last.type is blockpull.JobType.PULL and disk.depth == 2 and disk.dropped == [str(chain.base)]
    chain.base.unlink()
    chain.judge()
    chain.top, chain.content = over, content
    chain.judge()


def test_a_backing_file_is_committed(chain, engine, tmp_path):
    over, content = three(chain, tmp_path)
    with engine.open(over) as disk:
        last = disk.commit(top=chain.top, verify=True).wait()
        assert last.type is blockpull.JobType.COMMIT and last.copied_bytes == 128 << 10
        assert disk.depth == 2 and disk.dropped == [str(chain.top)]
    chain.top.unlink()
    assert chain.base.read_bytes() == chain.content
    chain.top, chain.content = over, content
    chain.judge()


@pytest.mark.parametrize("keep", [False, True])
def test_the_image_itself_is_committed_while_its_guest_writes(chain, engine, keep):
    with engine.open(chain.top, guest_io=True) as disk:
        job = disk.commit(keep=keep, manual_finalize=True)
        disk.write(512, b"g" * 512)
        while job.info.state is not blockpull.JobState.WAITING:
            time.sleep(0.01)
        job.finalize()
        assert job.wait().type is blockpull.JobType.ACTIVE_COMMIT
        assert disk.depth == 1 and disk.dropped == [str(chain.top)]
        disk.write(1024, b"h" * 512)  # into the base
    content = chain.content[:512] + b"g" * 512 + b"h" * 512 + chain.content[1536:]
    assert chain.base.read_bytes() == content
    with engine.open(chain.top, read_only=True) as disk:
        assert any(extent.depth == 0 and extent.data for extent in disk.extents()) is keep
