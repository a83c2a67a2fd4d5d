"""The application's own prometheus_client metrics, of all workers.

`values` knows how prometheus_client's metrics keep their numbers, `held` what holds a number that is shared, and
`meeting` how new metrics are met. `sharing` puts them into the rows of a table, and `merging` tells what those of
several workers come to.
"""
