"""The TestCase classes, one a file: class name minus TestCase is the file."""
