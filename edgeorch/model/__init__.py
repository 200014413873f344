"""What an object is: served kinds, schema, views, defaults, validation, patches, tables. Pure."""
