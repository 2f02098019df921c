"""What a report is about."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """What was measured on what.

    model: as asked for. sha256: of its weights file. precision: of the image encoder. input_size: longest side in
    pixels. data: name of the data set. size: how many images or episodes it has. config: file name.
    """

    model: str
    sha256: str
    variant: str
    licence: str
    device: str
    precision: str
    input_size: int
    data: str
    size: int
    config: str
