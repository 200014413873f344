"""Formats and protocols, bytes in and values out: no sockets, no await."""
