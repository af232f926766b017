#!/bin/sh
# Fetches a Helm engine for `make test-real` into a cache folder outside the tree, once for each pin.
#
#   helm.sh PYTHON   fetches it with that Python's pip (10 s), where it is not there yet
#   helm.sh --where  prints the folder and does nothing
#
# The engine is the shared library inside a Python package that asks for a newer Python than we do; only the library is
# used, from C, so that the package's own Python and dependencies do not matter. It exists for Linux on amd64.
set -eu

pin='helm-sdkpy==0.1.32 --hash=sha256:bcf5bf73cacc373bebedfb9c988969aa12a9eda86a140deba658fbf28eb789c5' # Helm 4.3.0

key=$(printf %s "$pin" | sha256sum | cut -c1-12)
engine=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/unstick-lab/helm-$key

if [ "${1:-}" = --where ]; then
    echo "$engine"
    exit
fi
if [ -d "$engine" ]; then
    exit # it got its name only when it was complete
fi

mkdir -p "$(dirname "$engine")"
work=$(mktemp -d "$engine.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "$pin" >"$work/requirements.txt"
"$1" -m pip install --quiet --disable-pip-version-check --require-hashes --ignore-requires-python --no-deps \
    --no-compile --only-binary :all: --target "$work/package" -r "$work/requirements.txt" >&2
mkdir "$work/out"
mv "$work"/package/helm_sdkpy/_lib/linux-amd64/libhelm_sdkpy.so "$work/out/libhelm.so"
chmod 755 "$work/out"
if ! mv --no-target-directory "$work/out" "$engine" 2>/dev/null && [ ! -d "$engine" ]; then
    echo "cannot move the Helm engine to $engine" >&2
    exit 1
fi
