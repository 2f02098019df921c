"""The parts of `make gpu` on an NVIDIA GPU. They need only PyTorch and the network's libraries."""


class LeftOut(Exception):
    """A part cannot run here. The text says why."""
