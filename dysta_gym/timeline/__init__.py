"""Schedules as people look at them: who ran which layer from when to when, drawn and written."""
