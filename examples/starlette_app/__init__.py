"""A shop on Starlette."""
