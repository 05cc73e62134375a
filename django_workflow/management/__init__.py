"""The command line: what the commands of `manage.py` are made of. They act through the manager alone."""
