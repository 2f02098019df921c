"""Training runs: objective, optimizer, batches, and the state that lets a run continue."""

from lseg_ros.environment import prepare

prepare()
