"""The desk device: what scripts/lab is made of.

Standard library only, Python 3.11. A device is a network namespace with its own containerd, data,
cgroups and edgeorch; `down` finds all of it from the device's name alone.
"""
