"""The canonical text of a graph: printed, parsed back, compared."""
