"""The kinds a user writes and reads, as pydantic models; nothing here knows a cluster.

Every other package imports from here; this one imports nothing below it.
"""
