"""How to reach each Kubernetes cluster and its Ceph, and where in Slack it belongs."""

from pydantic import Field, model_validator

from bot.settings.words import ChannelId, Namespace, Words


class KubernetesSettings(Words):
    """How to reach a cluster's API server, for reading and (where it differs) for writing."""

    kubeconfig: str | None = None
    """The kubeconfig to read with; without one, as kubectl finds it, else the pod's own account."""
    context: str | None = None
    """The context to read with; without one, the kubeconfig's current one."""
    remediate_kubeconfig: str | None = None
    """The kubeconfig to write with; without it and `remediate_context`, the identity that reads writes too."""
    remediate_context: str | None = None
    """The context to write with."""
    impersonate: str | None = None
    """The user that each act is done as, so that the cluster's own RBAC and audit see the person who asked: a text with
    `{id}` (as `cli:alice`) or `{login}` (as `alice`), such as `{login}@example.com`; `kubernetes_user` of a person comes
    first. Without it the writing identity acts as itself."""


class CephSettings(Words):
    """How to reach a Ceph cluster. `remediate_user` may fence and break locks; `user` should not be able to."""

    conf: str
    """The ceph.conf; its `keyring` line names the key."""
    user: str = "client.admin"
    """The cephx user to read with."""
    remediate_conf: str | None = None
    """The ceph.conf to fence and break locks with; without one, `conf`."""
    remediate_user: str | None = None
    """The cephx user to fence and break locks with; without one, `user`."""
    pools: tuple[str, ...] = ()
    """The pools that a scan walks; none named: all."""


class ClusterSettings(Words):
    """One Kubernetes cluster, the Ceph that its volumes lie in, and its place in Slack."""

    kubernetes: KubernetesSettings | None = KubernetesSettings()
    """How to reach its Kubernetes; `null` for a Ceph without one."""
    ceph: CephSettings | None = None
    """How to reach its Ceph; without it, CEPH_CONF, else /etc/ceph/ceph.conf where that is there."""
    cephs: dict[str, CephSettings] = Field(default_factory=dict)
    """How to reach each of several Cephs, by name, in place of `ceph`."""
    channel: ChannelId | None = None
    """The channel in which its incidents are told, and in which it is meant where none is named; without one,
    `slack.channel` tells of them."""
    channels: tuple[ChannelId, ...] = ()
    """Other channels in which it is meant where none is named."""
    namespaces: tuple[Namespace, ...] = ()
    """The namespaces that are watched; none named: all."""

    @model_validator(mode="after")
    def _ceph_or_cephs(self) -> "ClusterSettings":
        if self.ceph is not None and self.cephs:
            raise ValueError("`ceph` is for one, `cephs` for several: name all under `cephs`")
        return self
