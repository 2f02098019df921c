"""One of several processes on a card: prints "ready", waits for a line, and prints its frames per second."""

import sys

from benchmarks.gpu.parts import frames_a_second
from benchmarks.inputs import labels, photos
from lseg_ros import Segmenter, load_model

segmenter = Segmenter(load_model("lseg_mini"), "cuda")
segmenter.set_labels(labels(20))
images = photos(640, 480)[:1]
frames_a_second(segmenter, images, 50)
print("ready", flush=True)
sys.stdin.readline()
print(frames_a_second(segmenter, images, 1000), flush=True)
