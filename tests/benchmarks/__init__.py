"""What the middleware costs, beside the least possible wrapper and beside the peers. Run `python -m tests.benchmarks`.

`rounds` measures, `driving` sends the requests, `least` holds the baselines, `peers` knows how each peer is set up and
what it counted, `tables` builds the comparisons, `frameworks` that of all frameworks, `workers` those among prefork
workers, beside what apps write `by_hand`, `servers` those on real servers, which import the apps of `served`, and
`own_metrics` those of the application's own metrics. `runs` knows in how many processes each is measured, `__main__`
prints them. No test asserts a timing.
"""
