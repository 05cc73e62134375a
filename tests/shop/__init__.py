"""A small Django app whose rows the engine's tests count."""
