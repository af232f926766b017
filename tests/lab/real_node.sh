#!/bin/bash
# real_node.sh BIN FOLDER IMAGE KUBELET-FLAG...: the first process in namespaces of its own (pids and mounts), in which a
# real node lives: containerd, the kubelet, and whatever these start. The kernel ends all of them with this process,
# shims and containers too, and with the last one their mounts go: nothing is left to unmount.
set -euo pipefail
bin=$1 folder=$2 image=$3
shift 3

# Seen from outside: /proc is still the one of the machine.
read -r pid _ </proc/self/stat
echo "$pid" >"$folder/first.pid"
mount -t proc proc /proc

# What a pod mounts, its containers must see, and the CSI driver's mounts the kubelet; the machine sees none of it.
mount --make-rshared /
for place in /run /var/lib /var/log; do
    mkdir -p "$folder/root$place"
    mount --bind "$folder/root$place" "$place"
done

# A kubelet sets the machine's sysctls to its liking. It is given copies, so that the machine keeps its own.
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
    kernel/keys/root_maxbytes; do
    [ -e "/proc/sys/$name" ] || continue
    mkdir -p "$folder/sys/${name%/*}"
    cat "/proc/sys/$name" >"$folder/sys/$name"
    mount --bind "$folder/sys/$name" "/proc/sys/$name"
done

# runc and the shim are found by the PATH.
export PATH=$bin:$PATH AWS_EC2_METADATA_DISABLED=true
# Whatever ends this: the last words of both are what somebody looks for.
trap 'tail -n 3 "$folder/containerd.log" "$folder/kubelet.log"' EXIT
containerd --config "$folder/containerd.toml" >>"$folder/containerd.log" 2>&1 &
for ((tries = 0; tries < 200; tries++)); do
    ctr version >/dev/null 2>&1 && break
    sleep 0.1
done
ctr --namespace k8s.io images import "$image" >/dev/null
kubelet "$@" >>"$folder/kubelet.log" 2>&1 &
# One without the other is no node.
wait -n || true
exit 1
