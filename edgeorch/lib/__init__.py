"""Leaves: clocks, tasks, queues, JSON. They know nothing of what objects mean."""
