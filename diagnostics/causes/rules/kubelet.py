"""Causes told by the kubelet and the scheduler: objects that are missing, tokens, claims, and the umbrella time-out.

The umbrella must stay the last rule of all: its words also stand around messages that name the cause.
"""

from diagnostics.causes.model import Rule, either

OBJECTS = (
    Rule(
        cause="service-account-token-failed",
        why="The kubelet asked the API server for the pod's token and did not get it.",
        says=(
            "failed to fetch token",
            "failed to generate token",
            "tokenrequest endpoints",
            "failed to get service account token",
        ),
        never=("secrets store", "sandbox", "vault", "oauth"),
    ),
    Rule(
        cause="service-account-token-failed",
        why="The pod's service account, or its token, could not be read for the volume.",
        about="volume",
        pattern=either(
            r"failed to get service acc\w{2,6}t token",
            r"serviceaccounts? \"[^\"]{1,253}\" not found",
        ),
        never=("secrets store", "sandbox", "vault", "oauth"),
    ),
    Rule(
        cause="secret-key-missing",
        why="The object exists, but the key that the pod wants is not in it.",
        pattern=either(
            r"references non-existent (?:secret|config) key",
            r"couldn't find key \S{1,253} in (?:configmap|secret)",
        ),
    ),
    Rule(
        cause="configmap-missing",
        why="The API server, or the kubelet's cache of it, has no such ConfigMap; look whether it really is missing.",
        likely=True,
        pattern=either(
            r"configmaps? [\"']?[^\"' ]{1,253}[\"']? (?:was )?not found",
        ),
    ),
    Rule(
        cause="secret-missing",
        why="The API server has no such Secret.",
        pattern=either(
            r"secrets? [\"']?[^\"' ]{1,253}[\"']? (?:was )?not found",
            r"failed to find the secret \S{1,253} in the namespace",
        ),
        never=("secrets store", "secret version", "secret manager", "vault"),
    ),
    Rule(
        cause="secret-missing",
        why="A volume plugin could not read the Secret that holds its key.",
        likely=True,
        about="volume",
        says=("couldn't get secret", "could not get secret", "failed to get secret ", "cannot get secret"),
        never=("secrets store", "secrets-store", "keyvault", "vault", "forbidden"),
    ),
    Rule(
        cause="kubelet-cache-sync",
        why="The API server does not link the pod to the node yet, so the node may not read the object so far.",
        likely=True,
        says=("no relationship found between node", "no path found to object"),
        also=('secrets "', 'configmaps "', 'secret "', 'configmap "'),
    ),
    Rule(
        cause="kubelet-cache-sync",
        why="The kubelet has not got the object into its cache; wait a minute before looking further.",
        pattern=either(
            r"failed to sync (?:configmap|secret) cache",
            r"couldn't propagate object cache",
            r"object \"[^\"]{1,253}\"/\"[^\"]{1,253}\" not registered",
            r"services have not yet been read at least once",
        ),
    ),
)

CLAIMS = (
    Rule(
        cause="pvc-unbound",
        why="The volume controller reports, by this event's reason, that the claim is not bound.",
        about="claim",
    ),
    Rule(
        cause="pvc-unbound",
        why="A claim of the pod has no volume.",
        pattern=either(
            r"(?:failed to bind|timed out binding) volumes",
            r"bound to non-existent (?:pv|persistentvolume)",
            r"claim has lost its persistentvolume",
            r"unbound (?:immediate )?persistentvolumeclaim",
            r"persistentvolumeclaim (?:\S{1,253} )?is not bound",
            r"\bpvc (?:\S{1,300} )?is not bound",
            r"claim (?:\S{1,253} )?is not bound",
            r"(?:didn't|did not) find available persistent volumes",
            r"no persistent volumes available for this claim",
            r"waiting for first consumer to be created before binding",
            r"waiting for (?:a )?volume to be created,? either",
            r"already bound to a different claim",
            r"persistentvolumeclaims? \"[^\"]{1,253}\" is being deleted",
            r"cannot bind (?:to requested volume|persistentvolume)",
            r"has non-bound phase",
            r"waiting for pod \S{1,253} to be scheduled",
            r"node\(s\) did not have enough free storage",
            r"binding volumes: (?:timed out|provisioning failed|context deadline)",
        ),
    ),
    Rule(
        cause="pvc-unbound",
        why="The claim, its class or its volume does not exist.",
        pattern=either(
            r"persistentvolumeclaims? \"[^\"]{1,253}\" not found",
            r"storageclass(?:es)?(?:\.storage\.k8s\.io)? \"[^\"]{1,253}\" not found",
        ),
    ),
)

UMBRELLA = (
    Rule(
        cause="mount-timeout-umbrella",
        why="The kubelet sums up that it waited for volumes; another event of this pod or volume tells the cause.",
        says=(
            "expired waiting for volumes to attach",
            "unable to attach or mount volumes",
            "unable to mount volumes for pod",
            "unmounted volumes=[",
            "unattached volumes=[",
        ),
        also=("timed out", "timeout", "deadline exceeded", "context canceled"),
    ),
    Rule(
        cause="mount-timeout-umbrella",
        why="Only the end of a wait is told; another event of this pod or volume tells the cause.",
        likely=True,
        about="volume",
        inner=("timed out waiting for the condition", "timeout expired waiting for volumes"),
    ),
)
