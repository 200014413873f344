"""The DNS server of pods: cluster names from the zone, others from the host's resolvers."""
