"""Optimisers, learning rates, and what of a network stays as it is."""

import math
from typing import Any

import torch
from torch import nn

from lseg_ros.model.net import LSegNet
from lseg_ros.training.config import TrainConfig


def freeze(net: LSegNet, config: TrainConfig) -> None:
    """Takes out of training what is `frozen` or has the rate 0; raises ValueError where no part has such a name."""
    for part, rate in _parts(net, config):
        if rate == 0:
            part.requires_grad_(False)
    for prefix in config.frozen:
        parameters = [p for name, p in net.named_parameters() if name.startswith(f"{prefix}.")]
        if not parameters:
            raise ValueError(f"'frozen' holds {prefix!r}, and no part of the network has that name")
        for parameter in parameters:
            parameter.requires_grad_(False)


def set_modes(net: LSegNet, batch_norm: str) -> None:
    """Train mode, but for the text encoder, and BatchNorm that learns nothing or is "frozen" in the image encoder."""
    net.train()
    net.text_encoder.eval()
    frozen = set(net.encoder.modules()) if batch_norm == "frozen" else set()
    for module in net.modules():
        # On few images the statistics drift away from the pretrained weights; and what stays as it is keeps its own.
        still = module in frozen or not any(p.requires_grad for p in module.parameters())
        if still and isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            module.eval()


def build_optimizer(net: LSegNet, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a run. The text encoder is in no group, so it stays as it is."""
    rate = config.rates[1]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in part.parameters() if p.requires_grad], "lr": lr, "initial_lr": lr}
        for part, lr in _parts(net, config)
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, weight_decay=config.weight_decay)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, weight_decay=config.weight_decay)


def _parts(net: LSegNet, config: TrainConfig) -> list[tuple[nn.Module, float]]:
    """What may be trained, with its learning rate."""
    encoder_rate, rate = config.rates
    parts = [
        (net.encoder, encoder_rate),
        (net.decoder, rate),
        (net.head_block, rate),
        (net.text_projection, config.text_lr),
    ]
    return [(part, lr) for part, lr in parts if part is not None]


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Gives all groups the rate that they begin with, times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def lr_factor(config: TrainConfig, step: int, steps: int) -> float:
    """What the learning rates are multiplied with at a step.

    Args:
        config: "cosine" goes to zero after `warmup` steps up, and does so again from each of `restarts` (SGDR,
            Loshchilov and Hutter 2017); "poly" is (1 - epoch / epochs) ** 0.9, the same all through an epoch.
        step: from 0.
        steps: of the whole schedule.
    """
    if config.schedule == "poly":
        epoch = step // (steps // config.epochs)
        return max(0.0, 1 - epoch / config.epochs) ** 0.9
    begin = max((restart for restart in config.restarts if restart <= step), default=0)
    end = min((restart for restart in config.restarts if restart > step), default=steps)
    if step - begin < config.warmup:
        return (step - begin + 1) / config.warmup
    done = (step - begin - config.warmup) / max(1, end - begin - config.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
