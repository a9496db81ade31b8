"""The operators that random programs are made of: how each is called, and how its operands are chosen."""
