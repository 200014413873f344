"""The node part: pods bound to this device become containers."""
