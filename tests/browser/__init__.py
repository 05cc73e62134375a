"""A browser on the real pages, in front of a real cluster."""
