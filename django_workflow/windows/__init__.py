"""What admin, HTTP and command line have in common: who may do what, what is shown of a value, the log of deeds."""
