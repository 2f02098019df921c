"""The watch for silence, the rate limit and the kept image, on a clock that the tests move."""

import threading

from lseg_ros.ros.last_image import LastImage
from lseg_ros.ros.rate_limit import RateLimit
from lseg_ros.ros.silence import Cause, Silence, SilenceWatch


class FakeClock:
    """Seconds that advance only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def watch() -> tuple[SilenceWatch, FakeClock]:
    clock = FakeClock()
    made = SilenceWatch(clock)
    made.listen(True)
    return made, clock


def test_nothing_arrives() -> None:
    silence, clock = watch()
    clock.now += 4
    assert silence.silence(5) is None
    clock.now += 1
    assert silence.silence(5) == Silence(Cause.NOTHING_ARRIVES, 5)
    silence.arrived()
    assert silence.silence(5) is None


def test_a_silence_begins_when_somebody_listens() -> None:
    silence, clock = watch()
    silence.listen(False)
    clock.now += 100
    assert silence.silence(5) is None
    silence.listen(True)
    silence.listen(True)
    clock.now += 5
    assert silence.silence(5) == Silence(Cause.NOTHING_ARRIVES, 5)


def test_a_slow_frame_is_not_nothing() -> None:
    silence, clock = watch()
    silence.arrived()
    silence.begin()
    for _ in range(12):
        clock.now += 1
        silence.arrived()
    assert silence.silence(5) == silence.frame_in_work() == Silence(Cause.SLOW_FRAME, 12)
    silence.end(True)
    assert silence.frame_in_work() is None
    assert silence.silence(5) is None
    clock.now += 5
    assert silence.silence(5) == Silence(Cause.NOTHING_ARRIVES, 5)


def test_a_slow_frame_is_reported_even_if_no_other_image_comes() -> None:
    silence, clock = watch()
    silence.arrived()
    silence.begin()
    clock.now += 6
    assert silence.silence(5) == Silence(Cause.SLOW_FRAME, 6)


def test_images_that_all_fail() -> None:
    silence, clock = watch()
    for _ in range(6):
        clock.now += 1
        silence.arrived()
        silence.begin()
        silence.end(False)
    assert silence.silence(5) == Silence(Cause.ALL_FAIL, 6)
    silence.begin()
    silence.end(True)
    assert silence.silence(5) is None


def test_images_that_are_skipped_for_the_rate_are_no_silence() -> None:
    silence, clock = watch()
    for _ in range(20):
        clock.now += 1
        silence.arrived()
        assert silence.to_report(5) is None


def test_reports_come_at_growing_intervals() -> None:
    silence, clock = watch()
    told = []
    for _ in range(100):
        clock.now += 1
        report = silence.to_report(5)
        if report is not None:
            told.append(report.seconds)
    assert told == [5, 10, 20, 40, 80]
    silence.arrived()
    assert silence.to_report(5) is None
    clock.now += 5
    assert silence.to_report(5) == Silence(Cause.NOTHING_ARRIVES, 5)


def test_another_cause_is_reported_at_once() -> None:
    silence, clock = watch()
    clock.now += 6
    assert silence.to_report(5) == Silence(Cause.NOTHING_ARRIVES, 6)
    silence.arrived()
    silence.begin()
    clock.now += 5
    assert silence.to_report(5) == Silence(Cause.SLOW_FRAME, 5)


def test_threads_may_use_one_watch() -> None:
    silence = SilenceWatch()
    silence.listen(True)

    def work() -> None:
        for _ in range(300):
            silence.arrived()
            silence.begin()
            silence.end(True)
            silence.to_report(1e-6)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert silence.silence(60) is None


def admitted(rate: float, source: float, seconds: int, jitter: float = 0.0) -> int:
    """Returns how many images of a camera are admitted in `seconds` seconds."""
    clock = FakeClock()
    limit = RateLimit(clock)
    count = 0
    for i in range(round(source * seconds)):
        clock.now = 1000 + i / source + (jitter if i % 2 else 0.0)
        count += limit.admit(rate)
    return count


def test_a_rate_limit_lets_as_many_pass_as_it_says() -> None:
    assert admitted(0, 30, 10) == 300
    assert abs(admitted(20, 30, 10) - 200) <= 1  # not every other one
    assert abs(admitted(10, 30, 10) - 100) <= 1
    assert abs(admitted(10, 30, 10, jitter=0.005) - 100) <= 5
    assert admitted(100, 30, 10) == 300


def test_an_image_that_is_needed_passes_and_counts() -> None:
    clock = FakeClock()
    limit = RateLimit(clock)
    assert limit.admit(1)
    clock.now += 0.5
    assert not limit.admit(1) and limit.admit(1, always=True)
    clock.now += 0.6
    assert not limit.admit(1)
    clock.now += 0.5
    assert limit.admit(1)


def last_image() -> tuple[LastImage[str], FakeClock]:
    clock = FakeClock()
    return LastImage(clock), clock


def test_an_image_is_kept_until_it_is_too_old() -> None:
    last, clock = last_image()
    assert last.get(10) is None
    last.put("image", clock.now)
    clock.now += 10
    assert last.get(10) == "image" and last.get(9) is None
    last.expire(9)
    assert last.get(100) is None


def test_whoever_waits_gets_the_next_image() -> None:
    last, clock = last_image()
    last.put("old", clock.now)
    first, second = last.wait(5), last.wait(50)
    assert last.is_awaited and not first.done()
    last.put("new", clock.now)
    assert first.result(0) == second.result(0) == "new" and not last.is_awaited


def test_a_wait_ends_without_an_image() -> None:
    last, clock = last_image()
    waiting = last.wait(5)
    clock.now += 5
    last.expire(10)
    assert not waiting.done()
    clock.now += 0.1
    last.expire(10)
    assert waiting.result(0) is None and not last.is_awaited
    again = last.wait(5)
    last.put("kept", clock.now)
    last.clear()
    assert again.result(0) == "kept" and last.get(10) is None
    waiting = last.wait(5)
    last.clear()
    assert waiting.result(0) is None
