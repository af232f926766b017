"""The secrets-store driver and its providers. Decided by who speaks: what a vault or a cloud answers is quoted inside."""

from diagnostics.causes.model import Rule

SECRETS_STORE = (
    Rule(
        cause="secrets-store-failed",
        why="The secrets-store driver could not get the objects from its provider; the inner error is the provider's.",
        says=(
            "failed to mount secrets store objects",
            "failed to mount secrets store object",
            "secretproviderclass",
            "secretsproviderclass",
            "error connecting to provider",
            "failed to find provider binary",
            "secrets-store-csi-providers",
            "failed to get keyvault client",
            "failed to mount objects, error",
            "secrets-store.csi",
            "csidriverprovider",
            "azurekeyvault-flexvolume",
        ),
        also=("error", "fail", "not found", "denied", "refused", "unable"),
    ),
)
