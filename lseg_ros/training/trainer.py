"""Contrastive training: softmax cross-entropy between pixel embeddings and frozen text embeddings."""

import copy
import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from lseg_ros.model.files import is_name, weights_path
from lseg_ros.model.net import LOGIT_SCALE, LSegNet
from lseg_ros.model.text import build_text_encoder
from lseg_ros.model.variants import VARIANTS
from lseg_ros.model.weights import own_state, save_model
from lseg_ros.training.config import TrainConfig
from lseg_ros.training.data import augment
from lseg_ros.training.datasets.catalogue import ConfigError, open_dataset
from lseg_ros.training.datasets.common import IGNORE, Dataset
from lseg_ros.training.datasets.episodes import EpisodeSet

SAVE_EVERY = 100  # steps


@dataclass(frozen=True)
class Part:
    """What n images of a batch that come from one source learn.

    target: [n,h,w] rows of `text` or 255, of every `pixel_step`-th pixel. grid: [h,w,2] where in the crop these are, as
    `grid_sample` takes it. text: [N,D].
    """

    target: Tensor
    grid: Tensor
    text: Tensor


@dataclass(frozen=True)
class Batch:
    """images [B,3,S,S] normalised, and the parts they fall into, in their order."""

    images: Tensor
    parts: list[Part]


class Trainer:
    """One run on one device. Everything random derives from (seed, step), so a resumed run is the same run."""

    def __init__(self, config: TrainConfig, data: Path, out: Path, device: str = "cpu") -> None:
        """`data` is what the paths in `config` are relative to; `out` gets `last.pt`, `log.jsonl` and the weights."""
        self.config, self.out, self.device = config, out, torch.device(device)
        self.sources = {name: self._open(name, data) for name in config.sources}
        torch.manual_seed(config.seed)
        variant = VARIANTS[config.variant]
        self.net = LSegNet(variant, build_text_encoder(variant))
        self._initialise(weights_path(config.init) if is_name(config.init) else data / config.init)
        self._freeze()
        self.net.to(self.device).to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(own_state(self.net))
        self.text = self._embed_phrases()
        self.optimizer = torch.optim.AdamW(
            self._groups(),
            weight_decay=config.weight_decay,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._lr_factor)
        self.step = 0

    def _open(self, name: str, data: Path) -> Dataset:
        entry = self.config.sources[name].data
        found = open_dataset(entry, data, f"the source {name!r}", self.config.words, self.config.without)
        if isinstance(found, EpisodeSet):
            raise ConfigError(f"the source {name!r} is a set of episodes")
        return found

    def _initialise(self, path: Path) -> None:
        """Fills the network from a file of ours, or the backbone alone from one in timm's names."""
        state = load_file(path)
        if not any(key.startswith("encoder.") for key in state):
            state = {f"encoder.cnn.{key}": tensor for key, tensor in state.items()}
        missing = self.net.load_state_dict(state, strict=False).missing_keys
        missing = [key for key in missing if key.startswith("encoder.")]
        if missing:
            raise ValueError(f"{path} lacks {missing[0]} and {len(missing) - 1} more tensors of the backbone")

    def _freeze(self) -> None:
        for prefix in self.config.frozen:
            parameters = [p for name, p in self.net.named_parameters() if name.startswith(f"{prefix}.")]
            if not parameters:
                raise ValueError(f"'frozen' holds {prefix!r}, and no part of the network has that name")
            for parameter in parameters:
                parameter.requires_grad_(False)

    def _embed_phrases(self) -> dict[str, Tensor]:
        phrases = sorted({p for source in self.sources.values() for label in source.phrases for p in label})
        return dict(zip(phrases, self.net.embed_text(phrases), strict=True))

    def _groups(self) -> list[dict[str, Any]]:
        parts: list[tuple[nn.Module, float]] = [
            (self.net.encoder, self.config.backbone_lr),
            (self.net.decoder, self.config.lr),
        ]
        if self.net.text_projection is not None:
            parts.append((self.net.text_projection, self.config.text_lr))
        return [{"params": [p for p in part.parameters() if p.requires_grad], "lr": lr} for part, lr in parts]

    def _lr_factor(self, step: int) -> float:
        if step < self.config.warmup:
            return (step + 1) / self.config.warmup
        done = (step - self.config.warmup) / max(1, self.config.steps - self.config.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def batch(self, step: int) -> Batch:
        """The batch of a step: crops from all sources, each with the labels in them and some that are not.

        Labels of different sources do not compete, for what one calls a person may be a pedestrian in another.
        """
        config = self.config
        rng = np.random.default_rng((config.seed, step))
        names = list(self.sources)
        weights = np.array([config.sources[name].weight for name in names])
        counts = rng.multinomial(config.batch, weights / weights.sum())
        drawn = [self._part(self.sources[name], int(n), rng) for name, n in zip(names, counts, strict=True) if n]
        images = torch.from_numpy(np.concatenate([pictures for pictures, _ in drawn])).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.net.variant.mean, self.net.variant.std))
        return Batch((images - mean) / std, [part for _, part in drawn])

    def _part(self, source: Dataset, images: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Part]:
        config = self.config
        indices = rng.integers(0, len(source), images)
        samples = [augment(source.sample(int(i)), rng, config.crop, config.scale, config.colour) for i in indices]
        target = np.stack([mask for _, mask in samples])
        present = np.setdiff1d(np.unique(target), [IGNORE])
        absent = np.setdiff1d(np.arange(len(source.phrases)), present)
        labels = np.concatenate([present, rng.permutation(absent)[: config.negatives]])
        table = np.full(256, IGNORE, np.uint8)
        table[labels] = np.arange(len(labels))
        text = torch.stack([self.text[str(rng.choice(source.phrases[int(label)]))] for label in labels])
        text = text + config.text_noise * torch.from_numpy(rng.standard_normal(text.shape, np.float32))
        step = config.pixel_step
        top, left = rng.integers(0, step, 2)
        rows, columns = (torch.arange(start, config.crop, step) / (config.crop - 1) * 2 - 1 for start in (top, left))
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        seen = torch.from_numpy(table[target[:, top::step, left::step]]).long()
        part = Part(seen, grid, functional.normalize(text, dim=-1))
        return np.stack([image for image, _ in samples]), part

    def _batches(self) -> Iterator[Batch]:
        """Prepares the next batch in a thread while the current one trains."""
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(self.batch, self.step)
            for step in range(self.step, self.config.steps):
                batch = pending.result()
                pending = pool.submit(self.batch, step + 1)
                yield batch

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy at the crop's resolution over the labels of each part at temperature 0.07, mean over images."""
        images = batch.images.to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            pixels = self.net.decoder(self.net.encoder(images))
        shares = [len(part.target) / len(images) for part in batch.parts]
        split = pixels.split([len(part.target) for part in batch.parts])
        losses = [self._part_loss(*pair) for pair in zip(split, batch.parts, strict=True)]
        return torch.stack([share * loss for share, loss in zip(shares, losses, strict=True)]).sum()

    def _part_loss(self, pixels: Tensor, part: Part) -> Tensor:
        target = part.target.to(self.device)
        text = self.net.project_text(part.text.to(self.device))
        with torch.autocast(self.device.type, torch.bfloat16):
            dots = functional.conv2d(pixels, text[:, :, None, None])
        # The same as normalised pixels would give, for a fraction of the time: there are fewer labels than features.
        lengths = torch.linalg.vector_norm(pixels, dim=1, keepdim=True, dtype=torch.float32)
        logits = LOGIT_SCALE * dots.float() / lengths
        if self.net.head_block is not None:
            logits = self.net.head_block(logits)
        grid = part.grid.to(self.device).expand(len(target), -1, -1, -1)
        logits = functional.grid_sample(logits, grid, align_corners=True)  # what `upsample` gives for these pixels
        weights = self._class_weights(target, len(text))
        loss = functional.cross_entropy(logits, target, weights, ignore_index=IGNORE, reduction="sum")
        # Sum and count, for a part of nothing but ignored pixels has no mean.
        return loss / weights[target[target != IGNORE]].sum().clamp_min(1)

    def _class_weights(self, target: Tensor, labels: int) -> Tensor:
        """One for each label: (its share of the part's pixels) ** -balance, 1 in the mean over pixels, 20 at most."""
        pixels = torch.bincount(target[target != IGNORE], minlength=labels).float()
        weights = pixels.clamp_min(1) ** -self.config.balance
        return (weights * pixels.sum() / (weights * pixels).sum().clamp_min(1e-9)).clamp_max(20)

    def run(self) -> Path:
        """Trains to the last step, saving the state every 100; returns the file with the averaged weights."""
        self.out.mkdir(parents=True, exist_ok=True)
        self.net.train()
        for module in self.net.encoder.modules():
            # On few images the statistics drift away from the pretrained weights.
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        recent: list[float] = []
        with tqdm(total=self.config.steps, initial=self.step, unit="step", mininterval=5) as bar:
            for batch in self._batches():
                loss = self.loss(batch)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
                self.optimizer.step()
                recent.append(loss.item())
                self.schedule.step()
                self.step += 1
                self._average()
                bar.update()
                if self.step % SAVE_EVERY == 0 or self.step == self.config.steps:
                    mean = sum(recent) / max(1, len(recent))
                    bar.set_postfix(loss=f"{mean:.3f}")
                    with (self.out / "log.jsonl").open("a") as log:
                        log.write(json.dumps({"step": self.step, "loss": mean}) + "\n")
                    recent.clear()
                    self.save()
        return self.export()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, self.step / (self.step + 10))
        for key, value in own_state(self.net).items():
            if value.is_floating_point():
                self.ema[key].lerp_(value, 1 - decay)
            else:
                self.ema[key].copy_(value)

    def save(self) -> None:
        """Writes `last.pt` so that a stop at any moment leaves a whole one."""
        state = {
            "step": self.step,
            "net": own_state(self.net),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "schedule": {k: v for k, v in self.schedule.state_dict().items() if k != "lr_lambdas"},
        }
        part = self.out / "last.pt.part"
        torch.save(state, part)
        part.replace(self.out / "last.pt")

    def resume(self) -> None:
        """Continues from `last.pt` where there is one."""
        path = self.out / "last.pt"
        if not path.is_file():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self.step, self.ema = state["step"], state["ema"]
        self.net.load_state_dict(state["net"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"] | {"lr_lambdas": [None] * len(self.optimizer.param_groups)})

    def export(self) -> Path:
        """Writes the averaged weights as `<variant>.safetensors` and returns the path."""
        net = copy.deepcopy(self.net).eval()
        net.load_state_dict(self.ema, strict=False)
        path = self.out / f"{self.config.variant}.safetensors"
        # Half precision halves the file, and the figures in the model card are measured with it.
        save_model(net, path, self.config.licence, torch.float16)
        return path
