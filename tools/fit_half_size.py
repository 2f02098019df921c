"""Gives lseg_mini's second image encoder its weights: those of a network that was trained for COCO and VOC.

    python tools/fit_half_size.py WEIGHTS [WEIGHTS ...] --data DATA --out OUT.safetensors

The second encoder sees the image at half its size. Its features are added to those of the first one, before the head.
This tool finds the linear map between them without training: the labels then score a pixel as the network's own
classifier does. Of several WEIGHTS the mean is taken first.
"""

import argparse
from pathlib import Path
from typing import Any, cast

import cv2
import torch
import yaml
from torch import Tensor
from torch.nn import functional

from lseg_ros.images.photos import read_photo
from lseg_ros.model.deeplab import DeepLabDecoder
from lseg_ros.model.net import LSegNet
from lseg_ros.model.reader import read_weights
from lseg_ros.model.weights import load_model, save_model
from lseg_ros.training.closed_form import ridge
from lseg_ros.training.initialise import initialise

NETWORK = "weights/mnv2_100_deeplab_coco_voc.safetensors"
PHOTOS = "data/voc_animals/images"
WORDS = Path(__file__).resolve().parent.parent / "config" / "train" / "words_mini.yaml"

# Labels for each of PASCAL VOC's 20 classes. All other labels are its class 0, but those that may be one of the 20.
CLASSES = [
    ["airplane"],
    ["bicycle"],
    ["bird"],
    ["boat", "ship"],
    ["bottle"],
    ["bus"],
    ["car", "van"],
    ["cat"],
    ["chair", "armchair", "swivel chair"],
    ["cow"],
    ["table", "coffee table"],
    ["dog"],
    ["horse"],
    ["motorcycle"],
    ["person"],
    ["potted plant"],
    ["sheep"],
    ["couch"],
    ["train"],
    ["television", "monitor", "crt screen"],
]
UNCLEAR = ["truck", "plant", "seat", "stool", "bench", "ottoman", "desk", "animal", "apparel", "toy", "tank"]
UNCLEAR += ["computer", "laptop", "screen"]

BACKGROUND = 40.0  # weight of all labels of class 0 together, where any other label has 1
SCALE = 2.0  # size of what is added, relative to the features of the first encoder; 1 to 4 were tried


def main() -> None:
    """Writes the weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="+", help="weights of lseg_mini; of several the mean")
    parser.add_argument("--data", type=Path, required=True, help=f"folder that holds {NETWORK} and {PHOTOS}")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    options = parser.parse_args()
    net = load_model(options.weights[0])
    initialise(net, [str(path.resolve()) for path in options.weights], None, options.data, NETWORK)
    with torch.no_grad():
        added = fit(net, read_weights(options.data / NETWORK)[0])
        scale = SCALE * relative_size(net, added, sorted((options.data / PHOTOS).glob("*5.jpg"))[:10])
        decoder = cast(Any, net.decoder)
        decoder.half_reduce.weight.copy_(scale * added[:, :-1, None, None])
        decoder.reduce.bias.add_(scale * added[:, -1])
    save_model(net, options.out, net.licence, torch.float16)


def fit(net: LSegNet, state: dict[str, Tensor]) -> Tensor:
    """Finds the map from the second encoder's features to those in front of the head.

    Args:
        net: The network. Its head and its texts are as they stay.
        state: Tensors of the second encoder's own network, with its classifier.

    Returns:
        [features,width + 1], weights and bias.
    """
    classifier = torch.cat([state["deeplab.logits.weight"][:, :, 0, 0], state["deeplab.logits.bias"][:, None]], dim=1)
    known = {label: place for place, labels in enumerate(CLASSES, 1) for label in labels}
    words = yaml.safe_load(WORDS.read_text(encoding="utf-8"))
    labels = [label for label in words if label not in known and label not in UNCLEAR] + list(known)
    places = torch.tensor([known.get(label, 0) for label in labels])
    weights = torch.where(places == 0, BACKGROUND / (places == 0).sum(), 1.0).double()
    wanted = classifier.double()[places]
    wanted = wanted - weights @ wanted / weights.sum()  # a softmax does not see what all labels have
    rows = net.encode_text(labels).double() @ net.decoder.head.weight[:, :, 0, 0].double()
    return ridge(rows, wanted, weights).float()


def relative_size(net: LSegNet, added: Tensor, photos: list[Path]) -> float:
    """Returns the size of the first encoder's features divided by that of `added` on some photographs."""
    decoder = cast(DeepLabDecoder, net.decoder)
    sums = torch.zeros(2)
    for path in photos:
        rgb = cv2.resize(read_photo(path), (480, 384))
        image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 127.5 - 1
        _, deep, wide, half = net.encoder(image)
        assert decoder.half_context is not None
        context = decoder.half_context(half)
        ours = decoder.reduce(decoder.classified(deep, wide))
        theirs = functional.conv2d(context, added[:, :-1, None, None], added[:, -1])
        sums += torch.stack([ours.square().mean(), theirs.square().mean()])
    return float((sums[0] / sums[1]).sqrt())


if __name__ == "__main__":
    main()
