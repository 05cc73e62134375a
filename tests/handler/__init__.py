"""Tests of the handler's world: no database, no clock, no threads; journals are made by hand or by `drive`."""
