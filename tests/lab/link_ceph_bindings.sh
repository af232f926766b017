#!/bin/sh
# Link the distribution's rados and rbd modules into a virtual environment: `link_ceph_bindings.sh VENV`.
# They are compiled for one Python only, so a venv of another version is told so and left without; unstick then
# says which package is missing when something asks for Ceph.
set -eu
python="$1/bin/python"
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
target=$("$python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
for module in rados rbd; do
    for built in /usr/lib/python3/dist-packages/"$module".*.so; do
        [ -e "$built" ] || continue
        case $built in
            */"$module$suffix") ln -sfn "$built" "$target/" ;;
            *) echo "note: $(basename "$built") is not for this environment's Python ($suffix): no Ceph bindings linked" >&2 ;;
        esac
    done
done
