"""What can go wrong between a client and a node."""


class ClientError(RuntimeError):
    """Something went wrong, and the message says what in one sentence."""


class NotFound(ClientError):
    """There is no such node, topic or service; or there are several nodes and none was chosen."""


class NoAnswer(ClientError):
    """The node is there, and did not answer in time."""


class Refused(ClientError):
    """The node answered no; the message is its own sentence."""
