"""Much in the tables: what is asked often stays cheap, what deletes holds nobody up, an idle cluster is quiet, memory is flat.

In the suite with a few thousand rows; `make load` (``LOAD=all``) with a million finished workflows and 100,000 asleep,
with 100,000 turns and a cluster that is idle for a minute.
"""
