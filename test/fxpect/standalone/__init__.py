"""A failure as one program that needs torch alone."""
