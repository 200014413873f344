"""The kernel's network: netlink, network namespaces and nftables."""
