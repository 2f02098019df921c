"""A node of this package seen from outside: find it, ask it, watch it. For the commands of `lseg` and the console.

Everything here blocks for a bounded time and may be called from any thread. An event loop calls it with
`asyncio.to_thread`. Errors are `ClientError`s of one sentence.
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
