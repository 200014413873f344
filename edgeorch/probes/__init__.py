"""Runs one probe and returns its result."""
