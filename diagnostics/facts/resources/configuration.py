"""ConfigMaps, and Secrets by names only: a Secret's data is never asked for, nor any annotation of it decoded."""

from diagnostics.facts.resources.meta import Meta, Struct


class ConfigMap(Struct, frozen=True):
    """A ConfigMap."""

    metadata: Meta
    data: dict[str, str] | None = None
    binary_data: dict[str, str] | None = None

    @property
    def keys(self) -> frozenset[str]:
        """The names of its keys."""
        return frozenset({**(self.data or {}), **(self.binary_data or {})})

    @property
    def keys_are_all(self) -> bool:
        """Whether `keys` names every key."""
        return True


class ManagedFields(Struct, frozen=True):
    """Which fields a writer owns: names, no values. `operation` is `Apply` or `Update`."""

    fields_v1: dict[str, object] | None = None
    operation: str = ""


class SecretMeta(Meta, frozen=True):
    """A Secret's metadata: what its writers own names its keys."""

    managed_fields: tuple[ManagedFields, ...] | None = None


class Secret(Struct, frozen=True):
    """A Secret without its data, as the API gives it to whoever asks for metadata alone.

    Field ownership lists each key as `f:data: {f:KEY: {}}`
    (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management).
    """

    metadata: SecretMeta

    @property
    def keys(self) -> frozenset[str] | None:
        """The names of its keys; None where its writers' fields were not recorded, so that nobody can tell."""
        owned = [entry.fields_v1 for entry in self.metadata.managed_fields or () if entry.fields_v1]
        if not owned:
            return None
        found: set[str] = set()
        for fields in owned:
            for part in ("f:data", "f:stringData"):
                names = fields.get(part)
                if isinstance(names, dict):
                    found |= {name.removeprefix("f:") for name in names if name != "."}
        return frozenset(found)

    @property
    def keys_are_all(self) -> bool:
        """Whether `keys` names every key: its creation is among the recorded writes.

        A Secret made before the API server recorded writers shows only the keys that were written since. `type` never
        changes after the creation, so that who owns it made the Secret; one who applies it owns all that
        it applied, and what was there before is recorded with that.
        """
        entries = [entry for entry in self.metadata.managed_fields or () if entry.fields_v1]
        return any(
            "f:type" in (e.fields_v1 or {})
            or (e.operation == "Apply" and not {"f:data", "f:stringData"}.isdisjoint(e.fields_v1 or {}))
            for e in entries
        )
