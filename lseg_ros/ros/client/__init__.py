"""Finds, calls and watches nodes of this package from outside, for the commands of `lseg` and the console.

All functions block for a bounded time, and any thread may call them. An event loop calls them with `asyncio.to_thread`.
Errors are `ClientError`s of one sentence.
"""

from lseg_ros.ros.client.arrays import to_array
from lseg_ros.ros.client.errors import ClientError, NoAnswer, NotFound, Refused
from lseg_ros.ros.client.newest import Newest
from lseg_ros.ros.client.nodes import NodeInfo, choose_node, find_nodes
from lseg_ros.ros.client.remote import RemoteNode
from lseg_ros.ros.client.session import Session
from lseg_ros.ros.client.status import StatusWatch

__all__ = [
    "ClientError",
    "Newest",
    "NoAnswer",
    "NodeInfo",
    "NotFound",
    "Refused",
    "RemoteNode",
    "Session",
    "StatusWatch",
    "choose_node",
    "find_nodes",
    "to_array",
]
