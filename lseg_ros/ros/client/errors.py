"""Errors between a client and a node."""


class ClientError(RuntimeError):
    """Something went wrong. The message is one sentence."""


class NotFound(ClientError):
    """There is no such node, topic or service; or there are several nodes and none was chosen."""


class NoAnswer(ClientError):
    """The node exists but did not answer in time."""


class Refused(ClientError):
    """The node refused the request. The message is the node's own."""
