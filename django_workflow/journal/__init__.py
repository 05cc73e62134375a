"""The journal: the only code that writes rows, one function per edge of the transition tables."""
