"""Data sets in the on-disk layouts of their originals, one module each, and their augmentation."""

from lseg_ros.environment import prepare

prepare()
