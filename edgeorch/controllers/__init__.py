"""Objects into objects: each controller a thin loop around a pure decision of `core`."""
