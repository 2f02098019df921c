"""Optimizers, learning rates, and the parts of a network that do not learn."""

import math
from typing import Any

import torch
from torch import nn

from lseg_ros.model.net import LSegNet
from lseg_ros.training.config import TrainConfig


def freeze(net: LSegNet, config: TrainConfig) -> None:
    """Excludes parts from training: those in `frozen`, and those with the learning rate 0.

    Raises:
        ValueError: `frozen` has a name that no part of the network has.
    """
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
    """Sets train mode, except for the text encoder and for BatchNorm that must keep its statistics.

    Args:
        net: The network.
        batch_norm: "frozen" keeps the statistics in the whole image encoder. Otherwise only parts that do not learn
            keep theirs.
    """
    net.train()
    net.text_encoder.eval()
    frozen = set(net.encoder.modules()) if batch_norm == "frozen" else set()
    for module in net.modules():
        # On few images the statistics drift away from those that the pretrained weights need. Parts that do not learn
        # keep theirs in any case.
        still = module in frozen or not any(p.requires_grad for p in module.parameters())
        if still and isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            module.eval()


def build_optimizer(net: LSegNet, config: TrainConfig) -> torch.optim.Optimizer:
    """Makes the optimizer of a run. The text encoder is in no group, so it never learns."""
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
    """Lists the parts that may learn, with their learning rates."""
    encoder_rate, rate = config.rates
    parts = [
        (net.encoder, encoder_rate),
        (net.decoder, rate),
        (net.head_block, rate),
        (net.text_projection, config.text_lr),
    ]
    return [(part, lr) for part, lr in parts if part is not None]


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets the rate of each group to its initial rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def lr_factor(config: TrainConfig, step: int, steps: int) -> float:
    """Returns the factor of the learning rates at a step.

    Args:
        config: The run. "cosine" rises for `warmup` steps and falls to zero, and does so again after each of `restarts`
            (SGDR, Loshchilov and Hutter 2017). "poly" is (1 - epoch / epochs) ** 0.9, constant within an epoch.
        step: The step, from 0.
        steps: Number of steps of the whole schedule.
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
