"""Objects into objects: one plan function and one thin loop each."""
