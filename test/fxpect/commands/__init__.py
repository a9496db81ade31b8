"""The commands of ``fxpect``, one a file; none imports torch before it must."""
