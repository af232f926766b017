#!/bin/sh
# Installs what `make test-real` needs and this machine lacks: a Ceph to start, its bindings and commands, a compiler for
# bindsrc.c, PostgreSQL's server; and builds Kubernetes. It does nothing, quickly, where all is there. Needs root only to install.
#
# CEPH_CONF given: no daemons are installed. KUBECONFIG or KUBEBUILDER_ASSETS given: Kubernetes is not built.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
missing=''

need() { # PACKAGE COMMAND...: the package is missing when the command fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

compiles() {
    printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | gcc -x c -o /dev/null -
}

need gcc command -v gcc
need libc6-dev compiles
need ceph-common command -v rbd
# The distribution's own Python, for which the bindings are built, whatever Python runs the tests.
need python3-rados /usr/bin/python3 -c 'import rados'
need python3-rbd /usr/bin/python3 -c 'import rbd'
need python3-venv /usr/bin/python3 -c 'import ensurepip'
need postgresql sh -c 'command -v postgres || ls /usr/lib/postgresql/*/bin/postgres'
if [ -z "${CEPH_CONF:-}" ]; then
    need ceph-mon command -v ceph-mon
    need ceph-osd command -v ceph-osd
    need ceph-mgr command -v ceph-mgr
fi
if [ -z "${KUBECONFIG:-}${KUBEBUILDER_ASSETS:-}" ]; then
    # Of the real kubelet's CSI driver, which runs with the distribution's Python as Ceph's bindings do.
    need python3-grpcio /usr/bin/python3 -c 'import grpc'
    need python3-protobuf /usr/bin/python3 -c 'import google.protobuf'
fi
if [ -z "${KUBECONFIG:-}" ]; then
    need openssl command -v openssl
fi

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        echo "make test-real lacks:$missing. Run it as root on Debian 12, or install these yourself." >&2
        exit 1
    fi
    echo "installing:$missing" >&2
    case $missing in
    *' postgresql'*)
        # The tests start a server of their own: the package shall make and start none that nobody asked for. Where
        # somebody has said already what it shall do, that stays.
        if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
            mkdir -p /etc/postgresql-common
            echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
        fi
        ;;
    esac
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o DPkg::Lock::Timeout=300 update
    # shellcheck disable=SC2086 # a list of packages
    apt-get -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends install $missing </dev/null >/dev/null
fi

if [ -z "${KUBECONFIG:-}${KUBEBUILDER_ASSETS:-}" ]; then
    bash "$here/from_source/build.sh"
fi
