"""An app with one command: the `flush` with which Django ends a test whose transactions were real."""
