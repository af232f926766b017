"""The simulated cluster as a whole: the state, and the two ways in, for Unstick and for the clients of the world."""

from bot.sandbox.ceph.client import SimulatedClient
from bot.sandbox.ceph.connection import Caps, SimulatedRados
from bot.sandbox.ceph.state import ETIMEDOUT, ClusterState
from diagnostics.sources.ceph.rados import RadosError


class SimulatedCluster(ClusterState):
    """A Ceph cluster to connect to."""

    def connect(self, entity: str = "client.admin", ip: str = "10.47.1.5", caps: Caps = Caps.ALL) -> SimulatedRados:
        """A connection of Unstick's, with the caps of one identity.

        Raises:
            RadosError: errno 110, no monitor answers.
        """
        if self.silent_mons >= set(self.mons):
            raise RadosError(ETIMEDOUT, "connecting to the cluster failed")
        return SimulatedRados(self, self.join(entity, ip), caps)

    def client(self, ip: str, entity: str = "client.kubernetes") -> SimulatedClient:
        """A process on a node that locks, opens and writes images."""
        return SimulatedClient(self, self.join(entity, ip))
