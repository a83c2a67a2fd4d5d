"""The demo with Prometheus and Alertmanager beside it, and all that `red-middleware` makes loaded into them."""
