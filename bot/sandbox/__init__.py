"""The embedded sandbox: a Kubernetes and a Ceph that live in this process, so that Unstick runs with nothing installed.

All of Unstick's own code meets it through the same doors as real clusters (a kubeconfig, the bytes of the Rados
protocol). It must never import what reads or changes real clusters, and nothing outside `bot` may import it.
"""
