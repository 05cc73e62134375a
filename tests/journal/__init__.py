"""The journal's parts, one by one."""
