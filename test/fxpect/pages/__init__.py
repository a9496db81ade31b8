"""The catalogue of a suite as static pages: what each test claims, its stored cases, how to run it, what is related."""
