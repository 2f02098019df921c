"""Threads, and processes as for a GPU, make the same batches."""

import logging
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from training_run import CONFIG, write_data

from lseg_ros.training.batches import Batch
from lseg_ros.training.loading import by_processes, by_threads, workers_beside_gpu
from lseg_ros.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_is_known")

SHORT = replace(CONFIG, steps=8, crop=32, batch=2, text_noise=0.1, workers=2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def same(one: Batch, other: Batch) -> bool:
    pairs = [(one.images, other.images)]
    for part, twin in zip(one.parts, other.parts, strict=True):
        pairs += [(part.target, twin.target), (part.grid, twin.grid), (part.text, twin.text)]
    return all(torch.equal(*pair) for pair in pairs)


def test_processes_make_what_threads_make_in_the_same_order(data: Path, tmp_path: Path) -> None:
    batches = Trainer(SHORT, data, tmp_path).batches
    numbers = [4, 5, 6, 0, 11, 2]
    threads = list(by_threads(batches, numbers, 1))
    processes = list(by_processes(batches, iter(numbers), 1, 3, pin=False))
    assert len(processes) == len(numbers)
    assert all(same(one, other) for one, other in zip(threads, processes, strict=True))


def test_a_run_that_ends_early_leaves_no_process(data: Path, tmp_path: Path) -> None:
    batches = Trainer(SHORT, data, tmp_path).batches
    made = by_processes(batches, range(100), 1, 2, pin=False)
    assert len(list(islice(made, 2))) == 2
    made.close()  # type: ignore[attr-defined]
    from multiprocessing import active_children

    for child in active_children():
        child.join(30)
        assert not child.is_alive()


def test_each_broken_file_is_reported_once(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(6, 20):
        for folder in ("images", "masks"):
            (data / folder / f"{i:02}.png").write_bytes((data / folder / f"{i % 6}.png").read_bytes())
    (data / "images" / "07.png").write_bytes(b"")
    stopping = Trainer(SHORT, data, tmp_path).batches
    with pytest.raises(ValueError, match=r"^[^\n]*07\.png cannot be read[^\n]*$"):
        list(by_processes(stopping, range(20), 1, 2, pin=False))
    skipping = Trainer(replace(SHORT, broken_files="skip"), data, tmp_path).batches
    with caplog.at_level(logging.WARNING):
        made = list(by_processes(skipping, range(20), 1, 2, pin=False))
    assert len(made) == 20 and caplog.text.count("skipped: ") == 1
    for name in ("08", "09"):
        (data / "images" / f"{name}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="3 of the 20 files of the source 'blocks' cannot be used"):
        list(by_processes(skipping, range(40), 1, 2, pin=False))


def test_a_gpu_gets_more_than_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, wanted, expected in ((16, 1, 8), (4, 1, 4), (2, 6, 6), (16, 12, 12)):
        monkeypatch.setattr("os.sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        assert workers_beside_gpu(wanted) == expected
