"""Leaves: clocks, tasks, queues, JSON, quantities. They know nothing of Kubernetes objects' meaning."""
