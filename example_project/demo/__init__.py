"""`make demo`: the example project at work on real documents, in one terminal, with nothing to set up."""
