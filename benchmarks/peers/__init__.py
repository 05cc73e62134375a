"""Other systems for the same work. Each driver runs in an environment of its own and imports its own system only."""
