"""The containerd adapter: the only package that speaks gRPC."""
