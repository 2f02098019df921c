"""The subject of a report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """The model and the data of a measurement.

    Attributes:
        model: The model as the user named it.
        sha256: Checksum of its weights file.
        variant: Name of the network.
        licence: Licence of the weights.
        device: The device that ran it.
        precision: Precision of the image encoder.
        input_size: Longest side of the network's input, in pixels.
        window: Side of the windows in which the network sees it, in pixels; None: as a whole.
        data: Name of the data set.
        size: Number of its images or episodes.
        config: Name of the configuration file.
    """

    model: str
    sha256: str
    variant: str
    licence: str
    device: str
    precision: str
    input_size: int
    window: int | None
    data: str
    size: int
    config: str
