"""Folds BatchNorm into the convolution before it, which saves one pass over the pixels for each."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(module: nn.Module) -> None:
    """Replaces each BatchNorm that directly follows a convolution, and that convolution, in place.

    "Follows" means the order in which a module registers its children. In all networks here it is the order in which
    they run. The parameters of the replaced modules do not change, because the new convolutions have their own.

    Args:
        module: The module in eval mode.
    """
    before: tuple[nn.Module, str] | None = None  # where the last convolution is registered
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and before is not None:
            owner, key = before
            conv = getattr(owner, key)
            if conv.out_channels == child.num_features:
                setattr(owner, key, fuse_conv_bn_eval(conv, child))
                # timm's BatchNormAct2d ends with an activation, which stays.
                setattr(module, name, getattr(child, "act", nn.Identity()))
        before = _last_convolution(module, name)
        fold_batch_norm(child)


def _last_convolution(owner: nn.Module, name: str) -> tuple[nn.Module, str] | None:
    """Returns where a child's last convolution is registered: the child itself, or the end of a sequence; else None."""
    child = getattr(owner, name)
    if isinstance(child, nn.Conv2d):
        return owner, name
    if isinstance(child, nn.Sequential) and len(child):
        return _last_convolution(child, str(len(child) - 1))
    return None
