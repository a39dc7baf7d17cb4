"""From texts to a table of named, documented numbers."""
