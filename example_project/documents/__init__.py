"""The app of the example: a document and the workflow that processes it."""
