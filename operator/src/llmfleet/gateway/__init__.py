"""The gateway's agent: tells HAProxy who serves what, and never touches a byte of a request.

A process of its own, beside HAProxy in each gateway pod. It only reads from the API server.
"""
