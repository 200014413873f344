"""Services and EndpointSlices into nftables rules."""
