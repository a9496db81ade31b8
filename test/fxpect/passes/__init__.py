"""The passes that ship with torch: stage, how each is called, and a model that makes it fire."""
