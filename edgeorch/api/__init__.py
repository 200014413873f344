"""The HTTP edge: the Kubernetes API."""
