"""The measurements of `lseg eval`, and its report. See docs/evaluation.md."""

from lseg_ros.environment import prepare

prepare()
