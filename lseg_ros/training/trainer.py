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
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from lseg_ros.model.net import LSegNet
from lseg_ros.model.text import build_text_encoder
from lseg_ros.model.variants import VARIANTS
from lseg_ros.model.weights import own_state, save_model
from lseg_ros.training.config import TrainConfig
from lseg_ros.training.data import IGNORE, Source, augment

SAVE_EVERY = 100  # steps


@dataclass(frozen=True)
class Batch:
    """images [B,3,S,S] normalised, target [B,S,S] ids into `phrases` or 255, one phrase for each competing label."""

    images: Tensor
    target: Tensor
    phrases: list[str]


class Trainer:
    """One run on one device. Everything random derives from (seed, step), so a resumed run is the same run."""

    def __init__(self, config: TrainConfig, data: Path, out: Path, device: str = "cpu") -> None:
        """`data` is what the paths in `config` are relative to; `out` gets `last.pt`, `log.jsonl` and the weights."""
        self.config, self.out, self.device = config, out, torch.device(device)
        self.sources = {name: Source(source, data) for name, source in config.sources.items()}
        torch.manual_seed(config.seed)
        variant = VARIANTS[config.variant]
        self.net = LSegNet(variant, build_text_encoder(variant))
        self._load_backbone(data / config.init)
        self.net.to(self.device).to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(own_state(self.net))
        self.text = self._encode_phrases()
        self.optimizer = torch.optim.AdamW(
            [
                {"params": list(self.net.encoder.parameters()), "lr": config.backbone_lr},
                {"params": list(self.net.decoder.parameters()), "lr": config.lr},
            ],
            weight_decay=config.weight_decay,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._lr_factor)
        self.step = 0

    def _load_backbone(self, path: Path) -> None:
        """Fills the backbone from a file in timm's names; what else is in the file is left."""
        state = {f"encoder.cnn.{key}": tensor for key, tensor in load_file(path).items()}
        missing = self.net.load_state_dict(state, strict=False).missing_keys
        missing = [key for key in missing if key.startswith("encoder.")]
        if missing:
            raise ValueError(f"{path} lacks {missing[0]} and {len(missing) - 1} more tensors of the backbone")

    def _encode_phrases(self) -> dict[str, Tensor]:
        phrases = {
            template.format(p)
            for source in self.sources.values()
            for label in source.phrases
            for p in label
            for template in self.config.templates
        }
        ordered = sorted(phrases)
        return dict(zip(ordered, self.net.encode_text(ordered), strict=True))

    def _lr_factor(self, step: int) -> float:
        if step < self.config.warmup:
            return (step + 1) / self.config.warmup
        done = (step - self.config.warmup) / max(1, self.config.steps - self.config.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def batch(self, step: int) -> Batch:
        """The batch of a step: crops of one source, the labels in them and some that are not."""
        config = self.config
        rng = np.random.default_rng((config.seed, step))
        weights = np.array([config.sources[name].weight for name in self.sources])
        source = list(self.sources.values())[rng.choice(len(weights), p=weights / weights.sum())]
        indices = rng.integers(0, len(source), config.batch)
        samples = [augment(source.sample(int(i)), rng, config.crop, config.scale) for i in indices]
        target = np.stack([mask for _, mask in samples])
        present = np.setdiff1d(np.unique(target), [IGNORE])
        absent = np.setdiff1d(np.arange(len(source.phrases)), present)
        labels = np.concatenate([present, rng.permutation(absent)[: config.negatives]])
        table = np.full(256, IGNORE, np.uint8)
        table[labels] = np.arange(len(labels))
        phrases = [str(rng.choice(config.templates)).format(rng.choice(source.phrases[int(label)])) for label in labels]
        images = torch.from_numpy(np.stack([image for image, _ in samples])).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.net.variant.mean, self.net.variant.std))
        return Batch((images - mean) / std, torch.from_numpy(table[target]).long(), phrases)

    def _batches(self) -> Iterator[Batch]:
        """Prepares the next batch in a thread while the current one trains."""
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(self.batch, self.step)
            for step in range(self.step, self.config.steps):
                batch = pending.result()
                pending = pool.submit(self.batch, step + 1)
                yield batch

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy at the crop's resolution over the batch's labels at temperature 0.07."""
        images = batch.images.to(self.device).contiguous(memory_format=torch.channels_last)
        text = torch.stack([self.text[p] for p in batch.phrases])
        with torch.autocast(self.device.type, torch.bfloat16):
            embedding = self.net.encode_image(images)
        logits = self.net.score(embedding.float(), text, (images.shape[-2], images.shape[-1]))
        return functional.cross_entropy(logits, batch.target.to(self.device), ignore_index=IGNORE)

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
                if torch.isfinite(loss):  # a batch of nothing but ignored pixels has no mean
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
        self.schedule.load_state_dict(state["schedule"] | {"lr_lambdas": [None, None]})

    def export(self) -> Path:
        """Writes the averaged weights as `<variant>.safetensors` and returns the path."""
        net = copy.deepcopy(self.net).eval()
        net.load_state_dict(self.ema, strict=False)
        path = self.out / f"{self.config.variant}.safetensors"
        # Half precision halves the file, and the figures in the model card are measured with it.
        save_model(net, path, self.config.licence, torch.float16)
        return path
