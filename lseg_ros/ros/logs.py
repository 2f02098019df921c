"""Python's logging, as used by the ROS-free rooms, shown in the node's log."""

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger


def loggable(text: str) -> str:
    """The text as ROS's logger takes it: file names that are no UTF-8 become backslashes and numbers."""
    return text.encode("utf-8", "backslashreplace").decode()


class RosHandler(logging.Handler):
    """Hands records of `lseg_ros` loggers to a ROS logger."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Logs one record at its level."""
        text = loggable(record.getMessage())
        # rclpy remembers a level for each call site, so each level needs a line of its own.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


def forward_logs(logger: RcutilsLogger) -> None:
    """Shows what `lseg_ros` logs, from INFO up, in `logger`, and nowhere else."""
    package = logging.getLogger("lseg_ros")
    package.handlers = [RosHandler(logger)]
    package.propagate = False
    package.setLevel(logging.INFO)
