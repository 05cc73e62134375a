"""The engine: turns, step bodies, draining. It decides; rows are written by `journal/`."""
