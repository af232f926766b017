#!/bin/bash
# Builds Kubernetes 1.20.2 from Debian's source package into a cache folder outside the tree, once for each state of
# this folder and of the pinned version. Everything comes from the Debian mirror that this machine's own apt uses, is
# verified by apt, and is unpacked into a temporary folder: nothing is installed into the system.
#
#   build.sh          builds, where it is not built yet (about 4 minutes on 2 cores, 4 GiB of temporary disk space)
#   build.sh --where  prints the folder and does nothing
set -euo pipefail

release=bookworm
version='1.20.5+really1.20.2-1.1+deb12u1' # of the source package; what it contains is:
upstream=1.20.2
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kubemark kubectl)
# Go and the reflect2 that works with it (see adapt.py); etcd; what a real kubelet needs to run containers.
packages=(golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev etcd-server etcd-client
    containerd runc busybox-static)

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
key=$(cat "$here"/build.sh "$here"/*.py | sha256sum | cut -c1-12)
built=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/unstick-lab/kubernetes-$key

if [ "${1:-}" = --where ]; then
    echo "$built"
    exit
fi
if [ -d "$built" ]; then
    exit # it got its name only when it was complete
fi

mkdir -p "$(dirname "$built")"
work=$(mktemp -d "$built.XXXXXX")
# Go makes its module and build caches read-only.
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT

say() { printf '%(%H:%M:%S)T %s\n' -1 "$*" >&2; }

mirror_of_this_machine() {
    # apt names the places it downloads from, whatever the format of its sources; it knows them after an update.
    local target='$(CODENAME) $(REPO_URI)'
    apt-get indextargets --format "$target" | awk -v release="$release" '$1 == release { print $2; exit }'
}

use_a_private_apt() {
    local mirror
    mirror=$(mirror_of_this_machine)
    if [ -z "$mirror" ]; then
        apt-get -qq update
        mirror=$(mirror_of_this_machine)
    fi
    if [ -z "$mirror" ]; then
        echo "apt on this machine has no Debian $release in its sources: the lab is built from Debian 12" >&2
        exit 1
    fi
    mkdir -p "$work"/apt/{lists,cache/archives}/partial
    cat >"$work/apt/debian.sources" <<SOURCES
Types: deb deb-src
URIs: $mirror
Suites: $release
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    apt=(apt-get -qq -o "Dir::Etc::SourceList=$work/apt/debian.sources" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update
}

download() {
    mkdir -p "$work"/{packages,root,source,out/bin}
    (cd "$work/packages" && "${apt[@]}" download "${packages[@]}")
    (cd "$work/source" && "${apt[@]}" source --download-only "kubernetes=$version")
    local package
    for package in "$work"/packages/*.deb; do
        dpkg-deb --extract "$package" "$work/root"
    done
    tar -xzf "$work"/source/*.orig.tar.gz -C "$work/source"
}

compile() {
    # As in the days of GOPATH: all dependencies are vendored, and nothing is fetched from anywhere.
    export GOROOT=$work/root/usr/lib/go-1.19 GOPATH=$work/go GOCACHE=$work/go-cache HOME=$work
    export GO111MODULE=off GOPROXY=off GOFLAGS='' CGO_ENABLED=0 PATH=$work/root/usr/lib/go-1.19/bin:$PATH
    mkdir -p "$GOPATH/src/k8s.io"
    ln -s "$work/source/kubernetes-$upstream" "$GOPATH/src/k8s.io/kubernetes"
    cd "$GOPATH/src/k8s.io/kubernetes"
    generate_openapi
    say "compiling ${programs[*]}"
    go build -tags providerless -trimpath -ldflags "$(stamp)" -o "$work/out/bin/" "${programs[@]/#/./cmd/}"
    cd /
}

generate_openapi() {
    # The one generated file that the source package lacks. Its input is every package that asks for it by a marker; many
    # of these are reached through the symbolic links of vendor/k8s.io.
    local wanted
    wanted=$(grep --dereference-recursive --files-with-matches --include='*.go' '^// *+k8s:openapi-gen=' pkg cmd plugin vendor/k8s.io |
        grep --invert-match --extended-regexp \
            '^vendor/k8s.io/(code-generator|gengo|klog|kube-openapi|sample-apiserver|utils)/|/_examples/|/zz_' |
        xargs --max-args=1 dirname | LC_ALL=C sort --unique | sed 's,^,k8s.io/kubernetes/,' | paste --serial --delimiters=,)
    go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    "$work/openapi-gen" --logtostderr --input-dirs "$wanted" --output-package k8s.io/kubernetes/pkg/generated/openapi \
        --output-file-base zz_generated.openapi --go-header-file hack/boilerplate/boilerplate.generatego.txt \
        --report-filename "$work/openapi.report"
    # Without its models the API server compiles, and refuses to start.
    grep --quiet apiextensions/v1.CustomResourceDefinition pkg/generated/openapi/zz_generated.openapi.go
}

stamp() {
    # Without these an API server says that it is v0.0.0, and clients that look at the version go wrong.
    local package
    printf -- '-s -w'
    for package in component-base/version client-go/pkg/version; do
        printf -- ' -X k8s.io/kubernetes/vendor/k8s.io/%s.%s' \
            "$package" "gitVersion=v$upstream" "$package" gitMajor=1 "$package" gitMinor=20 \
            "$package" gitTreeState=archive
    done
}

keep_programs_of_debian() {
    local usr=$work/root/usr
    install "$usr"/bin/{etcd,etcdctl,containerd,containerd-shim-runc-v2,ctr} "$usr/sbin/runc" \
        "$work/root/bin/busybox" "$work/out/bin/"
    python3 "$here/busybox_image.py" "$work/out/bin/busybox" "$work/out/busybox-image.tar"
}

say "building Kubernetes $upstream into $built"
use_a_private_apt
download
python3 "$here/adapt.py" "$work/source/kubernetes-$upstream" "$work/root"
compile
keep_programs_of_debian
chmod 755 "$work/out"
if ! mv --no-target-directory "$work/out" "$built" 2>/dev/null && [ ! -d "$built" ]; then
    echo "cannot move the finished build to $built" >&2
    exit 1
fi
say "built $("$built/bin/kube-apiserver" --version)"
