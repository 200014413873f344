"""Owner of the objects: SQLite beneath, memory in front, watches to the side."""
