# SPDX-License-Identifier: MIT OR Apache-2.0
"""Jobs: their ends, their progress, and what they leave behind."""
import errno
import threading

import pytest

import blockpull


def test_a_pull_ends_and_the_image_stands_alone(chain, engine):
    with engine.open(chain.top) as disk:
        assert disk.depth == 2
        last = disk.pull().wait()
        assert last.state is blockpull.JobState.CONCLUDED and last.status is blockpull.JobStatus.COMPLETED
        assert last.copied_bytes == 2 << 20
        assert disk.depth == 1
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
        job.resume()
        with pytest.raises(blockpull.JobFailed) as caught:
            job.wait()
    assert caught.value.errno == errno.ESTALE
    assert "base.raw" in str(caught.value)
    assert chain.has_link()


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
