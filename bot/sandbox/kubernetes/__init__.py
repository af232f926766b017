"""A small Kubernetes for the sandbox: an API server over HTTP and the controllers that keep its cluster alive.

`server` speaks HTTP, `registry` holds what the verbs mean, `store` remembers, `controllers` and `kubelet` act as a
cluster would, `incident` fills it with the incident that Unstick is about. A contract test holds it to a real server.
"""
