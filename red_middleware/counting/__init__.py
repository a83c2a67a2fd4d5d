"""The heart: closed labels, the layout of a row, the table of rows, and one request on its way into it.

Knows nothing of what stands above it: no framework, no protocol, no text, no files.
"""
