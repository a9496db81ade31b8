"""What must hold whatever a pass does, one oracle a file."""
