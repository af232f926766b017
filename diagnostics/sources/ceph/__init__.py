"""Ceph as Unstick reads it: librados behind the Rados protocol, the cls_lock codec, and the source of Ceph facts."""
