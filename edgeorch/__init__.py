"""edgeorch: the Kubernetes API for one small device."""

__version__ = "0.1.0"
