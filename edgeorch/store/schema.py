"""The tables of the store, as SQL.

A change raises VERSION. It should only add (tables, columns with defaults), so that the version of
edgeorch before can go on with the same file, and nothing is lost on the way back from an upgrade;
where it cannot, COMPATIBLE is raised, too, and a copy from before the change is kept until the new
version has proven itself.
"""

from __future__ import annotations

VERSION = 1
COMPATIBLE = 1
"""The oldest VERSION whose edgeorch may use a file of this one."""
NEEDED = "needed_schema"
"""COMPATIBLE, as whoever wrote the file knew it."""
RESERVED = "reserved_version"
"""The number up to which resourceVersions may have been given."""
TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
