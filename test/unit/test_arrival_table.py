"""The table of arrived images, and its advice."""

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from benchmarks.arrival import HEAD, Arrival, advice, row  # noqa: E402


def arrival(reliability: str, received: int, rate_sent: float = 30.0) -> Arrival:
    return Arrival("1280x720", 30.0, reliability, 100, rate_sent, 12.3, received, 20)


def test_each_camera_is_a_row() -> None:
    assert (
        row(arrival("reliable", 100)) == "| 1280x720 | reliable | 30 Hz | 30.0 Hz | 100 of 100 (100 %) | 20 | 12 ms |"
    )
    assert (
        row(arrival("best_effort", 7)) == "| 1280x720 | best effort | 30 Hz | 30.0 Hz | 7 of 100 (7 %) | 20 | 12 ms |"
    )
    assert {line.count("|") for line in HEAD.splitlines()} == {row(arrival("reliable", 1)).count("|")}


def test_nothing_is_advised_where_all_images_arrive() -> None:
    assert advice([arrival("reliable", 99), arrival("best_effort", 100)]) == []


def test_advice_fits_what_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTDDS_BUILTIN_TRANSPORTS", raising=False)
    lost = " ".join(advice([arrival("reliable", 100), arrival("best_effort", 7)]))
    assert "Make the camera reliable" in lost and "FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA" in lost
    assert "Here it is not set" in lost and "compressed images" in lost and "too busy" not in lost
    lost = " ".join(advice([arrival("reliable", 50)]))
    assert "Make the camera reliable" not in lost and "compressed images" in lost
    assert "too busy" in " ".join(advice([arrival("reliable", 100, rate_sent=20.0)]))


@pytest.mark.parametrize(("bytes_", "told"), [("212992", True), ("8388608", False)])
def test_the_kernels_buffer_is_named_where_it_is_small(
    monkeypatch: pytest.MonkeyPatch, bytes_: str, told: bool
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: bytes_)
    assert ("net.core.rmem_max" in " ".join(advice([arrival("reliable", 50)]))) == told
