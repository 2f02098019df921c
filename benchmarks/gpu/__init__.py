"""What `make gpu` runs on an NVIDIA GPU: tests and measurements that need PyTorch and what the network needs."""


class LeftOut(Exception):
    """A part that cannot run here; the text says why."""
