"""The times at which a video's frames are shown, independent of the rate in its header."""

from pathlib import Path
from typing import Any

import pytest

from lseg_ros.images.videos import _timing, video_timing

# A screen recording: ten frames in the first second, and then one each 0.3 s.
UNSTEADY = [*(i / 10 for i in range(10)), *(1 + i * 0.3 for i in range(10))]
CASE = Path(__file__).parents[3] / "shared/cases/variable-frame-rate"


@pytest.mark.parametrize("header_rate", [1000.0, 30.0, 5.4, 0.0])  # as browsers write it, and as mkv and mp4 have it
def test_frames_of_an_unsteady_rate_are_held_for_their_time(header_rate: float) -> None:
    timing = _timing(UNSTEADY, header_rate, promised=3.73)
    assert timing.rate == pytest.approx(10)
    assert timing.repeats == [1] * 10 + [3] * 9 + [1]
    assert timing.missing == 0
    written = [sum(timing.repeats[:i]) / timing.rate for i in range(20)]
    assert written == pytest.approx(UNSTEADY, abs=0.5 / timing.rate)


@pytest.mark.parametrize(
    ("times", "header_rate", "rate"),
    [
        ([i / 25 for i in range(50)], 25.0, 25.0),
        ([round(i / 29.97, 3) for i in range(900)], 29.97, 29.97),  # containers round to milliseconds
        ([i / 30 for i in range(50)], 1000.0, 30.0),
        ([0.0] * 50, 24.0, 24.0),  # no times at all
        ([0.0] * 50, 0.0, 25.0),
        ([0.0], 1000.0, 25.0),
    ],
)
def test_a_steady_rate_stays(times: list[float], header_rate: float, rate: float) -> None:
    timing = _timing(times, header_rate, promised=len(times) / rate)
    assert timing.rate == pytest.approx(rate, rel=1e-4)
    assert set(timing.repeats) == {1} and len(timing.repeats) == len(times)
    assert timing.missing == pytest.approx(0, abs=1e-3)


def test_a_missing_part_of_a_video_is_given_in_seconds() -> None:
    assert _timing([i / 25 for i in range(50)], 25.0, promised=8.0).missing == pytest.approx(6)


@pytest.mark.skipif(not CASE.is_dir(), reason="the recordings of the shared folder are not there")
@pytest.mark.parametrize("name", ["vfr.webm", "vfr.mkv", "vfr.mp4"])
def test_real_recordings(lseg: Any, tiny: Path, tmp_path: Path, name: str) -> None:
    film, out = CASE / name, tmp_path / "out.mp4"
    done = lseg("segment", film, "-o", out, "--labels", "sky, building", "--model", tiny, "--masks", "--device", "cpu")
    assert (done.status, done.err) == (0, "")
    timing = video_timing(out)
    assert timing.times[-1] + 1 / timing.rate == pytest.approx(3.8, abs=0.15)
    rows = (tmp_path / "out_masks" / "times.csv").read_text().splitlines()[1:]
    assert [float(row.split(",")[1]) for row in rows] == pytest.approx(UNSTEADY, abs=2e-3)
