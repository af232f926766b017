"""A simulated Ceph behind the Rados protocol. It speaks the real bytes and the monitors' real JSON.

It takes the place of librados in the demo and in fast tests; one contract test holds it to what a real Ceph does. It
is no storage: it keeps what RBD keeps about images, and nothing of what is in them.
"""

from bot.sandbox.ceph.client import SimulatedClient
from bot.sandbox.ceph.cluster import SimulatedCluster
from bot.sandbox.ceph.connection import Caps, SimulatedRados

__all__ = ["Caps", "SimulatedClient", "SimulatedCluster", "SimulatedRados"]
