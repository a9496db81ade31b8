"""The directions of a near miss, one kind of edit a file; each yields every edit that a draft offers."""
