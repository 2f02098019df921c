"""When a mask is held for the labels, and when it is not. test/consumers tests it over real DDS."""

from typing import Any, cast

import pytest

from lseg_ros.ros.labels_first import LabelsFirst


class Topic:
    """A publisher with given numbers of readers. The last of `counts` stays."""

    def __init__(self, *counts: int) -> None:
        self.counts, self.asked, self.waits, self.published = list(counts), 0, 0, 0

    def get_subscription_count(self) -> int:
        self.asked += 1
        return self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]

    def publish_again(self) -> None:
        self.published += 1

    def wait_for_all_acked(self, timeout: object) -> bool:
        self.waits += 1
        return True


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> tuple[LabelsFirst, Topic, Topic]:
    """One reader of both topics that was already waited for, and a clock that only sleep moves."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.append(now.pop() + seconds))
    masks, labels = Topic(1), Topic(1)
    found = LabelsFirst(cast(Any, masks), cast(Any, labels))
    found.hold()
    assert labels.waits == 1
    return found, masks, labels


def test_no_mask_is_held_without_a_new_reader(joined: tuple[LabelsFirst, Topic, Topic]) -> None:
    found, _, labels = joined
    for _ in range(3):
        found.forget()
        found.hold()
    assert labels.waits == labels.published == 1


def test_a_new_reader_of_labels_gets_them_again_before_the_next_mask(joined: tuple[LabelsFirst, Topic, Topic]) -> None:
    found, _, labels = joined
    labels.counts = [2]
    for _ in range(3):
        found.hold()
    assert labels.waits == labels.published == 2


def test_a_new_reader_is_waited_for_until_it_has_the_labels(joined: tuple[LabelsFirst, Topic, Topic]) -> None:
    found, masks, labels = joined
    masks.counts, labels.counts = [2], [1, 1, 1, 2, 3]
    found.hold()
    assert labels.waits == labels.published == 2 and labels.counts == [3]


def test_a_reader_that_needs_no_labels_is_waited_for_once(joined: tuple[LabelsFirst, Topic, Topic]) -> None:
    found, masks, labels = joined
    masks.counts = [2]
    for _ in range(2):
        before = labels.asked
        found.hold()
    assert labels.asked == before + 1


@pytest.mark.parametrize("everybody", [False, True])
def test_a_reader_that_replaces_another_one_is_new(joined: tuple[LabelsFirst, Topic, Topic], everybody: bool) -> None:
    found, masks, labels = joined
    if not everybody:
        masks.counts = labels.counts = [0]
    found.forget(everybody=everybody)
    masks.counts, labels.counts = [1], [0, 0, 1]
    found.hold()
    assert labels.waits == 2 and labels.counts == [1]
