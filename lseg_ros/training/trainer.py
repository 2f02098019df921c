"""One training run: steps, averaged weights, saving and resuming."""

import copy
import math
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from lseg_ros.evaluation.text_features import in_chunks
from lseg_ros.files import remove_leftovers
from lseg_ros.model.net import TORCH_TYPES, LSegNet
from lseg_ros.model.text import build_text_encoder
from lseg_ros.model.variants import variant_named
from lseg_ros.model.weights import own_state, save_model
from lseg_ros.training.batches import Batch, Batches, phrases_of
from lseg_ros.training.checkpoint import load_state, save_state
from lseg_ros.training.closed_form import begin_as_classifier, begin_with_evidence, join_second
from lseg_ros.training.config import Run, TrainConfig
from lseg_ros.training.depthwise import quicken
from lseg_ros.training.distributed import World
from lseg_ros.training.initialise import initialise, located
from lseg_ros.training.loading import prepared
from lseg_ros.training.log import RunLog
from lseg_ros.training.objective import Objective
from lseg_ros.training.optimise import build_optimizer, freeze, lr_factor, set_modes, set_rates
from lseg_ros.training.run_data import check_contents, contents, open_sources
from lseg_ros.training.validation import Validation

LOG_EVERY = 100  # steps
_JOINING = 40  # batches that the second network is fitted on
ALONE = World(torch.device("cpu"))


class Stopped(Exception):
    """A signal stopped the run, and its state is saved.

    Attributes:
        number: The signal's number.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped after step {step}, and saved")
        self.number = number


def train(config: TrainConfig, data: Path, out: Path, world: World = ALONE) -> tuple[Path, bool]:
    """Trains, or continues where the run stopped. The runs that it starts from are trained before, if there are any.

    Those runs have folders of their names in `out`/before. Each is trained once, even if several runs start from it.

    Args:
        config: As for `Trainer`.
        data: As for `Trainer`.
        out: As for `Trainer`.
        world: As for `Trainer`.

    Returns:
        The file with the weights, and whether there was anything left to do.
    """
    return _train(config, data, out, out / "before", world)


def _train(config: TrainConfig, data: Path, out: Path, before: Path, world: World) -> tuple[Path, bool]:
    for first in config.init:
        if isinstance(first, Run):
            _train(first.config, data, before / first.name, before, world)
    trainer = Trainer(config, data, out, world, before)
    trainer.resume()
    if trainer.finished:
        return trainer.weights, False
    return trainer.run(), True


def weights_in(out: Path, config: TrainConfig) -> Path:
    """Returns the path of a run's weights."""
    return out / f"{config.variant}.safetensors"


class Trainer:
    """One run. All random numbers derive from the seed and the step, so a resumed run gives the same result."""

    def __init__(
        self, config: TrainConfig, data: Path, out: Path, world: World = ALONE, before: Path | None = None
    ) -> None:
        """Opens the data and builds the network.

        Args:
            config: The run.
            data: The folder that the paths in `config` are relative to.
            out: The folder for `last.pt`, the log, the plots and the weights. All processes need the same folder.
            world: The processes that train together, and this one's device.
            before: The folder with the results of the runs in `config.init`, each in a folder of its name.

        Raises:
            ConfigError: An entry of `config` is invalid.
            FileNotFoundError: Data or weights are missing.
            ValueError: Data or weights do not fit. The message names them.
        """
        self.config, self.out, self.world = config, out, world
        if config.precision == "float16" and world.device.type != "cuda":
            raise ValueError("'precision' float16 is for CUDA devices; use bfloat16 or float32 here")
        sources = open_sources(config, data)
        self.contents = contents(sources)
        self.validation = None
        if config.validation is not None:
            self.validation = Validation(config.validation, data, skip_broken=config.broken_files == "skip")
        torch.manual_seed(config.seed)
        variant = variant_named(config.variant)
        self.net = LSegNet(variant, build_text_encoder(variant))
        init = [located(name, data) for name in _initial_weights(config, before)]
        text_init = None if config.text_init is None else located(config.text_init, data)
        second_init = None if config.second_init is None else located(config.second_init, data)
        initialise(self.net, init, text_init, second_init)
        continues = self._state.is_file()  # then `resume` loads what is fitted below
        if config.classifier and not continues:
            begin_as_classifier(self.net, init[0], config.classifier, config.words)
        if second_init is not None and config.second_classifier and not continues:
            begin_with_evidence(self.net, second_init, config.second_classifier, config.words)
        self.net.to(world.device).to(memory_format=torch.channels_last)
        self.batches = Batches(config, variant, sources, self._embed(phrases_of(sources.values())))
        if second_init is not None and not continues:
            self.net.eval()  # until the first step
            join_second(self.net, second_init, (self.batches.batch(n).images for n in range(_JOINING)))
        freeze(self.net, config)
        if world.device.type == "cpu":
            quicken(self.net)
        if world.size > 1 and world.device.type == "cuda":  # PyTorch has no SyncBatchNorm for CPUs
            self.net = timm.layers.convert_sync_batchnorm(self.net)
        self.ema = copy.deepcopy(own_state(self.net)) if config.ema else None
        self.objective = Objective(self.net, TORCH_TYPES[config.precision], config.balance, config.jaccard)
        self.optimizer = build_optimizer(self.net, config)
        self.scaler = torch.amp.GradScaler("cuda") if config.precision == "float16" else None
        self.together = config.accumulate * world.size  # number of batches in a step
        per_epoch = self.batches.per_epoch(self.together)
        self.steps = config.steps or config.epochs * per_epoch  # length of the schedule
        self.last = config.stop_after * per_epoch or self.steps
        self.step = 0
        self.recent: list[float] = []  # losses since the last line of the log
        self.best = -math.inf  # best mIoU of a validation

    def _embed(self, phrases: list[str]) -> dict[str, Tensor]:
        # In chunks, because thousands of phrases at once would take gigabytes.
        return dict(zip(phrases, in_chunks(self.net.embed_text, phrases).cpu(), strict=True))

    @property
    def _state(self) -> Path:
        """The path of the saved state."""
        return self.out / "last.pt"

    @property
    def weights(self) -> Path:
        """The path of the final weights."""
        return weights_in(self.out, self.config)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.step >= self.last and self.weights.is_file()

    def run(self) -> Path:
        """Trains to the last step.

        Returns:
            The file with the (averaged) weights.

        Raises:
            Stopped: SIGINT or SIGTERM came, and the state is saved.
            ValueError: A file of the data cannot be used, or the loss is not finite any more.
            OSError: A file cannot be read or written.
        """
        first = self.world.is_first
        set_modes(self.net, self.config.batch_norm)
        wrapped: nn.Module = DistributedDataParallel(self.objective) if self.world.size > 1 else self.objective
        with ExitStack() as stack:
            log = None
            if first:
                self.out.mkdir(parents=True, exist_ok=True)
                remove_leftovers(self.out)
                log = stack.enter_context(RunLog(self.out, self.step))
            signals = stack.enter_context(_signals())
            bar: tqdm[Any] = stack.enter_context(
                tqdm(
                    desc=self.out.name,
                    total=self.last,
                    initial=self.step,
                    unit="step",
                    mininterval=5,
                    disable=not first,
                )
            )
            batches = prepared(self.batches, self._numbers(), self.together, self.world.device)
            while self.step < self.last:
                loss = self._train(wrapped, batches)
                # All processes get the same sum, so that they stop after the same step.
                sums = self.world.total(torch.tensor([loss, float(bool(signals))], dtype=torch.float64))
                total, stopping = sums.tolist()
                self._note(total / self.world.size, log, bar)
                bar.update()
                if stopping:
                    self.save()
                    raise Stopped(signals[0] if signals else signal.SIGTERM, self.step)
                if self.step % self.config.save_every == 0 or self.step == self.last:
                    self.save()
            if log is not None:
                self.export(self.weights)
                log.plot()
        self.world.total(torch.zeros(1))  # all processes wait for the first one, which writes the weights
        return self.weights

    def _numbers(self) -> Iterator[int]:
        """Yields the numbers of this process's batches."""
        for i in range(self.step * self.config.accumulate, self.last * self.config.accumulate):
            yield i * self.world.size + self.world.rank

    def _train(self, objective: nn.Module, batches: Iterator[Batch]) -> float:
        """Runs one step, and returns the mean loss of this process's batches."""
        set_rates(self.optimizer, lr_factor(self.config, self.step, self.steps))
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for i in range(self.config.accumulate):
            with _without_exchange(objective) if i < self.config.accumulate - 1 else nullcontext():
                loss = objective(next(batches)) / self.config.accumulate
                (loss if self.scaler is None else self.scaler.scale(loss)).backward()
            total += loss.item()
        if not math.isfinite(total):
            raise ValueError(f"the loss is {total} at step {self.step}; a lower learning rate or float32 may help")
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.step += 1
        self._average()
        return total

    def _note(self, loss: float, log: RunLog | None, bar: "tqdm[Any]") -> None:
        """Logs the loss, and validates if it is time to."""
        self.recent.append(loss)
        if self.step % LOG_EVERY == 0 or self.step == self.last:
            mean = sum(self.recent) / len(self.recent)
            self.recent.clear()
            bar.set_postfix(loss=f"{mean:.3f}")
            if log is not None:
                rate = lr_factor(self.config, self.step - 1, self.steps) * self.config.rates[1]
                log.add(self.step, {"loss": mean, "lr": rate})
        if self.validation is not None and (self.step % self.validation.every == 0 or self.step == self.last):
            figures = self.validation.measure(self._averaged(), self.world)
            better = figures["mean_iou"] > self.best
            self.best = max(self.best, figures["mean_iou"])
            if log is not None:
                log.add(self.step, figures)
                log.plot()
                if better:
                    self.export(self.out / "best.safetensors")

    @torch.no_grad()
    def _average(self) -> None:
        if self.ema is None:
            return
        decay = min(self.config.ema, self.step / (self.step + 10))
        for key, value in own_state(self.net).items():
            if value.is_floating_point():
                self.ema[key].lerp_(value, 1 - decay)
            else:
                self.ema[key].copy_(value)

    def save(self) -> None:
        """Writes `last.pt`, which is complete at any moment. Only the first process writes it."""
        if not self.world.is_first:
            return
        state = {
            "contents": self.contents,
            "step": self.step,
            "recent": self.recent,
            "best": self.best,
            "net": own_state(self.net),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
        }
        save_state(self._state, state, self.config, self.world.size)

    def resume(self) -> None:
        """Continues from `last.pt` if there is one.

        Raises:
            ValueError: The file belongs to another run.
        """
        state = load_state(self._state, self.config, self.world.size, self.world.device)
        if state is not None:
            check_contents(state["contents"], self.contents, self._state)
            self.step, self.recent, self.best, self.ema = (state[key] for key in ("step", "recent", "best", "ema"))
            self.net.load_state_dict(state["net"], strict=False)
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scaler is not None:
                self.scaler.load_state_dict(state["scaler"])
        if not self.world.same(self.step):
            raise ValueError(f"not all processes have the same {self._state}; give a folder that all of them share")

    def _averaged(self) -> LSegNet:
        """Returns a copy of the network with the averaged weights, if they are averaged."""
        net = copy.deepcopy(self.net).eval()
        if self.ema is not None:
            net.load_state_dict(self.ema, strict=False)
        return net

    def export(self, path: Path) -> None:
        """Writes the (averaged) weights in float16."""
        # In half precision, which halves the file. The figures in the model card are measured with it.
        save_model(self._averaged(), path, self.config.licence, torch.float16)


def _initial_weights(config: TrainConfig, before: Path | None) -> list[str]:
    """Returns names and paths for `initialise`."""
    weights = []
    for init in config.init:
        if isinstance(init, Run):
            if before is None:
                raise ValueError(f"'init' is the run {init.name}, and nothing says where it has ended")
            init = str(weights_in(before / init.name, init.config).resolve())
        weights.append(init)
    return weights


def _without_exchange(objective: nn.Module) -> AbstractContextManager[None]:
    """Keeps gradients in this process until the last batch of a step, because one exchange is enough."""
    return objective.no_sync() if isinstance(objective, DistributedDataParallel) else nullcontext()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Yields a list that collects SIGINT and SIGTERM, so that neither ends the process in the middle of a step."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
