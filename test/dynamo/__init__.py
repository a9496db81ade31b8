"""The regression suite of torch's graph passes; file and class names follow pytorch's test/dynamo."""

from fxpect.loading import suite

load_tests = suite(__name__, __file__)
