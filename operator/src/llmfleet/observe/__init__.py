"""What the cluster looks like, reduced to what decisions read: frozen views, and how objects become views.

Pure: no I/O, no clock. A view keeps no part of an object that nobody reads, so that thousands of them stay small.
"""
