"""What is made of the metrics: rules, alerts, the dashboard, and pictures of it."""
