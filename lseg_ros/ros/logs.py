"""Shows the records of Python's logging in the node's log, for packages that do not import ROS."""

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger


def loggable(text: str) -> str:
    """Returns a text that ROS's logger accepts: bytes of file names that are no UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


class RosHandler(logging.Handler):
    """Passes the records of `lseg_ros` loggers to a ROS logger."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Logs one record at its level."""
        text = loggable(record.getMessage())
        # rclpy allows one level for each line of code, so each level needs its own line.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


def forward_logs(logger: RcutilsLogger) -> None:
    """Shows the records of `lseg_ros` loggers, from INFO up, only in `logger`."""
    package = logging.getLogger("lseg_ros")
    package.handlers = [RosHandler(logger)]
    package.propagate = False
    package.setLevel(logging.INFO)
