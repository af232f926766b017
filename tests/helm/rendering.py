"""The chart as a Helm engine renders it with the least values and some more, and what its pod has."""

from typing import Any

import pytest

from tests.lab import helm
from tests.lab.helm import HelmRefusedError, Release
from tests.lab.objects import Object

LEAST: Object = {"image": {"repository": "registry.example/unstick"}, "slack": {"existingSecret": "slack-tokens"}}


def rendered(**values: Any) -> Release:
    """The chart with the least values and these."""
    return helm.install({**LEAST, **values})


def refusal(values: Object) -> str:
    """What Helm says where it does not take these values."""
    with pytest.raises(HelmRefusedError) as refused:
        helm.install(values)
    return str(refused.value)


def pod(release: Release) -> Object:
    """The spec of the Deployment's pods."""
    spec: Object = release.one("Deployment")["spec"]["template"]["spec"]
    return spec


def container(release: Release) -> Object:
    """The one container of it."""
    [only] = pod(release)["containers"]
    return dict(only)


def mounts(release: Release) -> dict[str, Object]:
    """What is mounted: the volume's source by its path, with `readOnly` of the mount."""
    volumes = {volume["name"]: {k: v for k, v in volume.items() if k != "name"} for volume in pod(release)["volumes"]}
    mounted = container(release)["volumeMounts"]
    assert sorted(volumes) == sorted(mount["name"] for mount in mounted)
    return {m["mountPath"]: {**volumes[m["name"]], "readOnly": m.get("readOnly", False)} for m in mounted}


def environment(release: Release) -> dict[str, Object]:
    """The environment's entries by name."""
    return {entry["name"]: {k: v for k, v in entry.items() if k != "name"} for entry in container(release)["env"]}


def sources(release: Release) -> dict[str, Object]:
    """Which keys of which Secrets are in the environment, by its name there."""
    named = environment(release).items()
    return {name: entry["valueFrom"]["secretKeyRef"] for name, entry in named if "valueFrom" in entry}
