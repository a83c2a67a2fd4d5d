"""Rules, alerts and dashboards: what they say, asked of Prometheus's own tools and of a real Prometheus."""
