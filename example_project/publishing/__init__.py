"""The second app of the example: documents that appear together, once somebody has said yes."""
