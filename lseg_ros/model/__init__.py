"""The networks of LSeg: image encoders, fusion decoder, text encoders, weights."""

from lseg_ros.environment import prepare

prepare()
