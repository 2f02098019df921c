"""Runs that are stopped, killed, resumed, shared by processes, or that have broken files."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from processes import PATIENCE
from training_run import BLOCKS, CONFIG, write_config, write_data

from lseg_ros import load_model
from lseg_ros.cli.main import main
from lseg_ros.training import trainer
from lseg_ros.training.batches import Batch, Batches
from lseg_ros.training.config import SourceConfig, TrainConfig, ValidationConfig
from lseg_ros.training.distributed import World
from lseg_ros.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_is_known")

SCRIPT = Path(__file__).parents[1] / "training_run.py"
SHORT = replace(CONFIG, steps=8, crop=32, batch=2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def environment() -> dict[str, str]:
    root = SCRIPT.parents[1]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, (root, root / "test")))}


def same_weights(one: Path, other: Path) -> bool:
    states = [load_model(path).state_dict() for path in (one, other)]
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def log_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed at an arbitrary moment, with a validation and with several batches in preparation."""
    monkeypatch.setattr(trainer, "LOG_EVERY", 4)
    validation = ValidationConfig(BLOCKS, every=5, images=2)
    config = replace(CONFIG, steps=12, batch=2, save_every=1, workers=2, accumulate=2, validation=validation)
    whole = Trainer(config, data, tmp_path / "whole").run()
    out = tmp_path / "parts"
    command = [SCRIPT, "train", "--config", write_config(config, tmp_path / "run.yaml"), "--data", data, "--out", out]
    process = subprocess.Popen([sys.executable, *map(str, command)], env=environment())
    saves: set[int] = set()
    while len(saves) < random.randint(1, 6) and process.poll() is None:
        time.sleep(random.uniform(0, 0.01))
        with suppress(FileNotFoundError):
            saves.add((out / "last.pt").stat().st_mtime_ns)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (out / ".part-torn").mkdir()
    (out / ".part-torn" / "last.pt").write_bytes(b"PK")
    with (out / "log.jsonl").open("a") as log:
        log.write('{"step": 11, "loss": 1.0}\n{"step": 4')  # as of steps that were not saved
    second = Trainer(config, data, out)
    second.resume()
    assert 0 < second.step < 12
    assert same_weights(whole, second.run())
    assert same_weights(tmp_path / "whole" / "best.safetensors", out / "best.safetensors")
    assert not [*out.glob(".part-*")]
    assert (out / "miou.png").stat().st_size > 1000 and [*(out / "tensorboard").iterdir()]
    # The process of its own logged after another number of steps, in all else the two agree.
    validated = [[line for line in log_of(folder) if "mean_iou" in line] for folder in (tmp_path / "whole", out)]
    assert validated[0] == validated[1] and [line["step"] for line in validated[0]] == [5, 10, 12]
    losses = [line["step"] for line in log_of(out) if "loss" in line]
    assert losses == sorted(set(losses))


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_step(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sent: int,
    status: int,
) -> None:
    whole = Trainer(SHORT, data, tmp_path / "whole").run()
    make = Batches.batch

    def make_and_signal(self: Batches, number: int, together: int = 1) -> Batch:
        if number == 4:
            os.kill(os.getpid(), sent)
        return make(self, number, together)

    monkeypatch.setattr(Batches, "batch", make_and_signal)
    out = tmp_path / "out"
    config = write_config(SHORT, tmp_path / "run.yaml")
    command = ["train", "--config", str(config), "--data", str(data), "--out", str(out)]
    assert main(command) == status
    assert "lseg: stopped after step " in (told := capsys.readouterr().err) and "the same command goes on" in told
    monkeypatch.setattr(Batches, "batch", make)
    assert main(command) == 0
    assert capsys.readouterr().out == f"trained; the weights are in {out / 'tiny.safetensors'}\n"
    assert same_weights(whole, out / "tiny.safetensors")
    assert log_of(out) == log_of(tmp_path / "whole"), "the mean is over all steps, also those before the stop"
    before = (out / "tiny.safetensors").stat().st_mtime_ns
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("this run was finished before; the weights are in ")
    assert (out / "tiny.safetensors").stat().st_mtime_ns == before


def test_a_run_that_ended_goes_on_for_longer(data: Path, tmp_path: Path) -> None:
    """The result is the same as if it had been planned that long from the start."""
    out = tmp_path / "out"
    Trainer(replace(SHORT, steps=4), data, out).run()
    longer = replace(SHORT, steps=9, restarts=(4,))
    second = Trainer(longer, data, out)
    second.resume()
    assert second.step == 4 and not second.finished
    assert same_weights(Trainer(longer, data, tmp_path / "whole").run(), second.run())
    # Other restarts would have been another beginning.
    with pytest.raises(ValueError, match=r"'steps' was 9 and is 12 \(and so do 'restarts'\)"):
        Trainer(replace(SHORT, steps=12, restarts=(6, 9)), data, out).resume()


def test_a_run_begins_with_the_mean_of_others(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`init` names configurations. These are trained first, so one command does the same as four."""
    base = replace(SHORT, steps=4)
    first = Trainer(base, data, tmp_path / "first").run()
    seconds = [
        Trainer(replace(base, seed=seed, init=(str(first),)), data, tmp_path / str(seed)).run() for seed in (5, 6)
    ]
    last = replace(base, seed=7)
    third = Trainer(replace(last, init=tuple(map(str, seconds))), data, tmp_path / "third").run()

    write_config(base, tmp_path / "first.yaml")
    for seed in (5, 6):
        write_config(replace(base, seed=seed, init=("first.yaml",)), tmp_path / f"second{seed}.yaml")
    config = write_config(replace(last, init=("second5.yaml", "second6.yaml")), tmp_path / "last.yaml")
    monkeypatch.chdir(tmp_path)  # paths in a configuration are relative to the data, and this folder is not
    command = ["train", "--config", str(config), "--data", str(data), "--out", "out"]
    make, made = Batches.batch, list[int]()

    def make_and_signal(self: Batches, number: int, together: int = 1) -> Batch:
        made.append(self.config.seed)
        if made.count(5) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return make(self, number, together)

    monkeypatch.setattr(Batches, "batch", make_and_signal)
    assert main(command) == 130
    assert "stopped after step " in capsys.readouterr().err
    assert same_weights(first, Path("out/before/first/tiny.safetensors")), "what was done is kept"
    assert not Path("out/before/second6").exists() and not Path("out/last.pt").exists()
    assert main(command) == 0
    assert made.count(3) == 4, "the first is trained once, for both that begin with it"
    assert same_weights(third, Path("out/tiny.safetensors"))
    assert main(command) == 0 and "this run was finished before" in capsys.readouterr().out
    write_config(replace(base, seed=9), tmp_path / "first.yaml")
    assert main(command) == 1
    assert "first/last.pt is of a run of another configuration: 'seed' was 3 and is 9" in capsys.readouterr().err


def test_a_run_does_not_go_on_with_other_data(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Trainer(SHORT, data, out).run()
    for file in (data / "images" / "5.png", data / "masks" / "5.png"):
        file.unlink()
    with pytest.raises(ValueError, match=r"'blocks' has other images \(5 images, 3 labels\) than when .*last.pt was "):
        Trainer(SHORT, data, out).resume()


def test_a_state_of_another_run_is_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Trainer(replace(SHORT, steps=1, warmup=0), data, out).run()
    with pytest.raises(ValueError, match=r"last\.pt is of a run of another configuration: 'seed' was 3 and is 4"):
        Trainer(replace(SHORT, steps=1, warmup=0, seed=4), data, out).resume()
    with pytest.raises(
        ValueError,
        match=r"'steps' was 1 and is 8 \(and so do 'warmup'\).*to train it for longer, add 1 to its 'restarts'",
    ):
        Trainer(SHORT, data, out).resume()
    free = Trainer(replace(SHORT, steps=1, warmup=0, workers=3, save_every=7, broken_files="skip"), data, out)
    free.resume()
    assert free.finished
    with pytest.raises(ValueError, match="of a run of 1 processes, and here are 2"):
        Trainer(replace(SHORT, steps=1, warmup=0), data, out, World(torch.device("cpu"), 0, 2)).resume()
    for content in (b"", b"PK no archive", (out / "last.pt").read_bytes()[:-1000]):
        (out / "last.pt").write_bytes(content)
        with pytest.raises(ValueError, match=r"last\.pt is no state of a run of this version"):
            free.resume()


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batches(data: Path, tmp_path: Path) -> None:
    """With torchrun, gloo and DDP. A signal to one of the two stops both, and the run is resumed."""
    validation = ValidationConfig(BLOCKS, every=5, images=5)
    config = replace(SHORT, steps=5, optimizer="sgd", precision="float32", lr=0.1, backbone_lr=0.01, ema=0.0)
    config = replace(config, validation=validation)
    out = tmp_path / "out"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = map(str, [SCRIPT, "ranks", write_config(config, tmp_path / "run.yaml"), data, out])
    done = subprocess.run([*torchrun, *script], env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    (step, one), (other_step, other) = (torch.load(out / f"rank{rank}.pt") for rank in (0, 1))
    assert step == other_step == 5
    for name in one:
        assert torch.equal(one[name][0], other[name][0]) and torch.equal(one[name][1], other[name][1]), name
    alone = Trainer(replace(config, accumulate=2), data, tmp_path / "alone")
    alone.run()
    for name, parameter in alone.net.named_parameters():
        torch.testing.assert_close(one[name][0], parameter.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(one[name][1], parameter.grad, rtol=1e-3, atol=1e-6)
    (loss, measured), (loss_alone, measured_alone) = (log_of(folder) for folder in (out, tmp_path / "alone"))
    assert loss == pytest.approx(loss_alone)
    # Running statistics of the decoder's BatchNorm are of one process each, so figures differ a little.
    assert measured == pytest.approx(measured_alone, abs=0.2)


def more_pictures(data: Path, count: int) -> None:
    for i in range(6, count):
        for folder in ("images", "masks"):
            (data / folder / f"{i:02}.png").write_bytes((data / folder / f"{i % 6}.png").read_bytes())


def batches_of(data: Path, config: TrainConfig, out: Path) -> list[torch.Tensor]:
    made = Trainer(config, data, out).batches
    return [made.batch(number).images for number in range(10)]


def test_broken_files_stop_a_run_or_are_skipped(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    more_pictures(data, 20)
    whole = batches_of(data, SHORT, tmp_path)
    (data / "images" / "07.png").write_bytes(b"")
    cv2.imwrite(str(data / "masks" / "11.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match=r"07\.png cannot be read|11\.png is \(5, 5\) pixels"):
        Trainer(replace(SHORT, steps=50), data, tmp_path / "stop").run()
    skip = replace(SHORT, broken_files="skip")
    with caplog.at_level(logging.WARNING):
        found = batches_of(data, skip, tmp_path)
    told = [record.message for record in caplog.records if "skipped" in record.message]
    assert len(told) == 2 and "07.png" in told[0] + told[1] and "11.png" in told[0] + told[1]
    same = [torch.equal(a, b) for a, b in zip(whole, found, strict=True)]
    assert any(same) and not all(same), "only batches with a broken file differ"
    later = Trainer(skip, data, tmp_path).batches  # one that has not met the files before
    for number in (9, 3, 0):
        assert torch.equal(later.batch(number).images, found[number])
    (data / "masks" / "4.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"3 of the 20 files of the source 'blocks' cannot be used, .*more than a"):
        Trainer(replace(skip, steps=50), data, tmp_path / "skip").run()


def test_broken_files_of_the_validation(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = write_data(tmp_path / "other")
    (other / "images" / "2.png").write_bytes(b"")
    validation = ValidationConfig({**BLOCKS, "images": "../other/images"}, every=1)
    config = replace(SHORT, steps=1, warmup=0, validation=validation)
    with pytest.raises(ValueError, match=r"2\.png cannot be read"):
        Trainer(config, data, tmp_path / "stop").run()
    Trainer(replace(config, broken_files="skip"), data, tmp_path / "skip").run()
    assert "2.png" in caplog.text and log_of(tmp_path / "skip")[-1]["pixel_accuracy"] >= 0


def test_nothing_but_broken_files(data: Path, tmp_path: Path) -> None:
    for path in (data / "images").iterdir():
        path.write_bytes(b"")
    only = {**BLOCKS, "only": ["0.png"]}
    config = replace(SHORT, broken_files="skip", sources={"blocks": SourceConfig(only)})
    with pytest.raises(ValueError, match="1 of the 1 files of the source 'blocks' cannot be used"):
        Trainer(config, data, tmp_path).batches.batch(0)


def test_a_loss_that_is_no_number_stops_the_run(data: Path, tmp_path: Path) -> None:
    config = replace(SHORT, optimizer="sgd", precision="float32", lr=1e30, clip=0.0, warmup=0)
    with pytest.raises(ValueError, match="the loss is (nan|inf) at step [1-7]; a lower learning rate"):
        Trainer(config, data, tmp_path).run()


def test_without_plots_and_curves_it_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("matplotlib.figure", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    Trainer(replace(SHORT, steps=1, warmup=0), data, tmp_path / "out").run()
    assert "no TensorBoard, because" in caplog.text and "no plots, because" in caplog.text


def test_devices_and_precisions_that_are_not_there(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="float16 is for CUDA devices"):
        Trainer(replace(SHORT, precision="float16"), data, tmp_path)
    config = write_config(SHORT, tmp_path / "run.yaml")
    command = ["train", "--config", str(config), "--data", str(data), "--out", str(tmp_path / "out"), "--device"]
    assert main([*command, "abacus"]) == 1 and main([*command, "cuda:99"]) == 1
    told = capsys.readouterr().err
    assert "there is no device 'abacus'" in told and "'cuda:99' was asked for" in told
