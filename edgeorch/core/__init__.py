"""Decisions: pure functions from desired and observed state to actions."""
