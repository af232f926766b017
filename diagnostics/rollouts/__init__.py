"""How workloads come on: which pods hold them up and why, and since when a rollout does not get done. Pure.

Checks of rollouts, pods and Jobs share it; it knows facts and words only, as they do.
"""
